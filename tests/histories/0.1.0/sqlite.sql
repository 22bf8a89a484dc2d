BEGIN TRANSACTION;
CREATE TABLE attempts (
        run INTEGER NOT NULL,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        exit_code INTEGER,
        message TEXT,
        submitted_at REAL,
        started_at REAL,
        ended_at REAL NOT NULL,
        backend TEXT NOT NULL,
        handle TEXT, cost REAL,
        PRIMARY KEY (run, task, attempt)
    ) WITHOUT ROWID
    ;
INSERT INTO "attempts" VALUES(4,'a',1,'completed','exit',0,NULL,1002.0,1003.0,1009.0,'local','job-a',NULL);
INSERT INTO "attempts" VALUES(5,'a',1,'completed','exit',0,NULL,1002.0,1003.0,1009.0,'local','job-a',NULL);
INSERT INTO "attempts" VALUES(5,'b',1,'completed','exit',0,NULL,1010.0,1011.0,1019.0,'local','job-b-1010',NULL);
INSERT INTO "attempts" VALUES(5,'c',1,'completed','exit',0,NULL,1010.0,1011.0,1019.0,'local','job-c-1010',NULL);
INSERT INTO "attempts" VALUES(5,'d',1,'completed','exit',0,NULL,1020.0,1021.0,1029.0,'local','job-d-1020',NULL);
INSERT INTO "attempts" VALUES(6,'a',1,'failed','exit',3,'exit code 3',1002.0,1003.0,1005.0,'local','job-a',NULL);
INSERT INTO "attempts" VALUES(7,'a',1,'failed','exit',3,'exit code 3',1002.0,1003.0,1005.0,'local','job-a',NULL);
INSERT INTO "attempts" VALUES(7,'d',1,'completed','exit',0,NULL,1002.0,1003.0,1009.0,'local','job-d',NULL);
INSERT INTO "attempts" VALUES(8,'a',1,'failed','exit',3,'exit code 3',1002.0,1003.0,1005.0,'local','job-a1',NULL);
INSERT INTO "attempts" VALUES(9,'a',1,'failed','exit',3,'exit code 3',1002.0,1003.0,1005.0,'local','job-a1',NULL);
INSERT INTO "attempts" VALUES(9,'a',2,'failed','exit',3,'exit code 3',1066.0,NULL,1067.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(10,'a',1,'failed','exit',3,'exit code 3',1002.0,1003.0,1005.0,'local','job-a1',NULL);
INSERT INTO "attempts" VALUES(10,'a',2,'failed','exit',3,'exit code 3',1066.0,NULL,1067.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(10,'a',3,'completed','exit',0,NULL,1187.0,1188.0,1196.0,'local','job-a-1187',NULL);
INSERT INTO "attempts" VALUES(10,'b',1,'completed','exit',0,NULL,1200.0,1201.0,1209.0,'local','job-b-1200',NULL);
INSERT INTO "attempts" VALUES(11,'a',1,'failed','lost',NULL,'its job is gone',1002.0,1003.0,1005.0,'local','job-a1',0.25);
INSERT INTO "attempts" VALUES(11,'b',1,'failed','host_terminated',NULL,'Host EC2 (instance i-0) terminated',1002.0,1003.0,1005.0,'local','job-b1',0.25);
INSERT INTO "attempts" VALUES(12,'a',1,'failed','lost',NULL,'its job is gone',1002.0,1003.0,1005.0,'local','job-a1',0.25);
INSERT INTO "attempts" VALUES(12,'a',2,'completed','exit',0,NULL,1010.0,1011.0,1019.0,'local','job-a-1010',0.5);
INSERT INTO "attempts" VALUES(12,'b',1,'failed','host_terminated',NULL,'Host EC2 (instance i-0) terminated',1002.0,1003.0,1005.0,'local','job-b1',0.25);
INSERT INTO "attempts" VALUES(12,'b',2,'completed','exit',0,NULL,1010.0,1011.0,1019.0,'local','job-b-1010',0.5);
INSERT INTO "attempts" VALUES(14,'a',1,'failed','cancelled',143,'cancelled while it ran',1002.0,1003.0,1007.0,'local','job-a',NULL);
INSERT INTO "attempts" VALUES(15,'a',1,'failed','timeout',143,'stopped at its time limit of 1m',1002.0,1003.0,1303.0,'local','job-a',NULL);
INSERT INTO "attempts" VALUES(16,'a',1,'completed','exit',0,NULL,1002.0,1003.0,1005.0,'local','job-a',1.5);
INSERT INTO "attempts" VALUES(17,'a',1,'completed','exit',0,NULL,1002.0,1003.0,1005.0,'local','job-a',1.5);
INSERT INTO "attempts" VALUES(17,'b',1,'failed','cancelled',143,'cancelled while it ran',1002.0,1003.0,1008.0,'local','job-b',0.25);
INSERT INTO "attempts" VALUES(18,'gen',1,'completed','exit',0,NULL,1002.0,1003.0,1011.0,'local','job-gen-1002',NULL);
INSERT INTO "attempts" VALUES(19,'end',1,'completed','exit',0,NULL,1012.0,1013.0,1021.0,'local','job-end-1012',NULL);
INSERT INTO "attempts" VALUES(19,'gen',1,'completed','exit',0,NULL,1002.0,1003.0,1011.0,'local','job-gen-1002',NULL);
INSERT INTO "attempts" VALUES(19,'n.1',1,'completed','exit',0,NULL,1012.0,1013.0,1021.0,'local','job-n.1-1012',NULL);
INSERT INTO "attempts" VALUES(19,'n.2',1,'completed','exit',0,NULL,1022.0,1023.0,1031.0,'local','job-n.2-1022',NULL);
INSERT INTO "attempts" VALUES(20,'end',1,'completed','exit',0,NULL,1012.0,1013.0,1021.0,'local','job-end-1012',NULL);
INSERT INTO "attempts" VALUES(20,'end',2,'completed','exit',0,NULL,1052.0,1053.0,1061.0,'local','job-end-1052',NULL);
INSERT INTO "attempts" VALUES(20,'gen',1,'completed','exit',0,NULL,1002.0,1003.0,1011.0,'local','job-gen-1002',NULL);
INSERT INTO "attempts" VALUES(20,'gen',2,'completed','exit',0,NULL,1042.0,1043.0,1051.0,'local','job-gen-1042',NULL);
INSERT INTO "attempts" VALUES(20,'n.1',1,'completed','exit',0,NULL,1012.0,1013.0,1021.0,'local','job-n.1-1012',NULL);
INSERT INTO "attempts" VALUES(20,'n.1',2,'completed','exit',0,NULL,1052.0,1053.0,1061.0,'local','job-n.1-1052',NULL);
INSERT INTO "attempts" VALUES(20,'n.2',1,'completed','exit',0,NULL,1022.0,1023.0,1031.0,'local','job-n.2-1022',NULL);
INSERT INTO "attempts" VALUES(21,'a',1,'failed','exit',3,'exit code 3',1002.0,NULL,1003.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(21,'c',1,'completed','exit',0,NULL,1002.0,NULL,1003.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(22,'a',1,'failed','exit',3,'exit code 3',1002.0,NULL,1003.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(22,'c',1,'completed','exit',0,NULL,1002.0,NULL,1003.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(23,'a',1,'failed','exit',3,'exit code 3',1002.0,NULL,1003.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(23,'a',2,'completed','exit',0,NULL,1012.0,1013.0,1021.0,'local','job-a-1012',NULL);
INSERT INTO "attempts" VALUES(23,'b',1,'completed','exit',0,NULL,1022.0,1023.0,1031.0,'local','job-b-1022',NULL);
INSERT INTO "attempts" VALUES(23,'c',1,'completed','exit',0,NULL,1002.0,NULL,1003.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(24,'m.0',1,'completed','exit',0,NULL,1002.0,1003.0,1005.0,'local','job:0',NULL);
INSERT INTO "attempts" VALUES(24,'m.2',1,'completed','exit',0,NULL,1002.0,1003.0,1005.0,'local','job:2',NULL);
INSERT INTO "attempts" VALUES(25,'m.0',1,'completed','exit',0,NULL,1002.0,1003.0,1005.0,'local','job:0',NULL);
INSERT INTO "attempts" VALUES(25,'m.1',1,'completed','exit',0,NULL,1002.0,1003.0,1009.0,'local','job:1',NULL);
INSERT INTO "attempts" VALUES(25,'m.2',1,'completed','exit',0,NULL,1002.0,1003.0,1005.0,'local','job:2',NULL);
INSERT INTO "attempts" VALUES(25,'m.3',1,'completed','exit',0,NULL,1002.0,1003.0,1009.0,'local','job:3',NULL);
INSERT INTO "attempts" VALUES(25,'r',1,'completed','exit',0,NULL,1010.0,1011.0,1019.0,'local','job-r-1010',NULL);
INSERT INTO "attempts" VALUES(27,'a',1,'failed','queue_timeout',NULL,'waited longer than 1m for a machine',1033.0,NULL,1063.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(27,'b',1,'failed','queue_timeout',NULL,'waited longer than 1m for a machine',1002.0,NULL,1063.0,'local',NULL,NULL);
INSERT INTO "attempts" VALUES(27,'b',2,'completed','exit',0,NULL,1064.0,1065.0,1073.0,'local','job-b-1064',NULL);
CREATE TABLE barriers (
        run INTEGER NOT NULL,
        node INTEGER NOT NULL,
        remaining INTEGER NOT NULL,
        failed INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (run, node)
    ) WITHOUT ROWID
    ;
INSERT INTO "barriers" VALUES(24,-1,2,0);
INSERT INTO "barriers" VALUES(25,-1,0,0);
CREATE TABLE changes (
        n INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        at REAL NOT NULL,
        pos INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        exit_code INTEGER
    );
INSERT INTO "changes" VALUES(1,2,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(2,3,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(3,3,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(4,4,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(5,4,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(6,4,1009.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(7,5,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(8,5,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(9,5,1009.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(10,5,1010.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(11,5,1010.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(12,5,1011.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(13,5,1011.0,2,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(14,5,1019.0,1,1,'completed','exit',0);
INSERT INTO "changes" VALUES(15,5,1019.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(16,5,1020.0,3,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(17,5,1021.0,3,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(18,5,1029.0,3,1,'completed','exit',0);
INSERT INTO "changes" VALUES(19,6,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(20,6,1002.0,3,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(21,6,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(22,6,1003.0,3,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(23,6,1005.0,0,1,'failed','exit',3);
INSERT INTO "changes" VALUES(24,6,1005.0,1,0,'dep_failed','dependency',NULL);
INSERT INTO "changes" VALUES(25,6,1005.0,2,0,'dep_failed','dependency',NULL);
INSERT INTO "changes" VALUES(26,7,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(27,7,1002.0,3,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(28,7,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(29,7,1003.0,3,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(30,7,1005.0,0,1,'failed','exit',3);
INSERT INTO "changes" VALUES(31,7,1005.0,1,0,'dep_failed','dependency',NULL);
INSERT INTO "changes" VALUES(32,7,1005.0,2,0,'dep_failed','dependency',NULL);
INSERT INTO "changes" VALUES(33,7,1009.0,3,1,'completed','exit',0);
INSERT INTO "changes" VALUES(34,8,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(35,8,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(36,8,1005.0,0,1,'pending','exit',3);
INSERT INTO "changes" VALUES(37,9,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(38,9,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(39,9,1005.0,0,1,'pending','exit',3);
INSERT INTO "changes" VALUES(40,9,1066.0,0,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(41,9,1067.0,0,2,'pending','exit',3);
INSERT INTO "changes" VALUES(42,10,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(43,10,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(44,10,1005.0,0,1,'pending','exit',3);
INSERT INTO "changes" VALUES(45,10,1066.0,0,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(46,10,1067.0,0,2,'pending','exit',3);
INSERT INTO "changes" VALUES(47,10,1187.0,0,3,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(48,10,1188.0,0,3,'running',NULL,NULL);
INSERT INTO "changes" VALUES(49,10,1196.0,0,3,'completed','exit',0);
INSERT INTO "changes" VALUES(50,10,1200.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(51,10,1201.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(52,10,1209.0,1,1,'completed','exit',0);
INSERT INTO "changes" VALUES(53,11,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(54,11,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(55,11,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(56,11,1003.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(57,11,1005.0,0,1,'pending','lost',NULL);
INSERT INTO "changes" VALUES(58,11,1005.0,1,1,'pending','host_terminated',NULL);
INSERT INTO "changes" VALUES(59,12,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(60,12,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(61,12,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(62,12,1003.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(63,12,1005.0,0,1,'pending','lost',NULL);
INSERT INTO "changes" VALUES(64,12,1005.0,1,1,'pending','host_terminated',NULL);
INSERT INTO "changes" VALUES(65,12,1010.0,0,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(66,12,1010.0,1,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(67,12,1011.0,0,2,'running',NULL,NULL);
INSERT INTO "changes" VALUES(68,12,1011.0,1,2,'running',NULL,NULL);
INSERT INTO "changes" VALUES(69,12,1019.0,0,2,'completed','exit',0);
INSERT INTO "changes" VALUES(70,12,1019.0,1,2,'completed','exit',0);
INSERT INTO "changes" VALUES(71,13,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(72,13,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(73,13,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(74,13,1004.0,2,0,'failed','cancelled',NULL);
INSERT INTO "changes" VALUES(75,13,1004.0,3,0,'failed','cancelled',NULL);
INSERT INTO "changes" VALUES(76,14,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(77,14,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(78,14,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(79,14,1004.0,2,0,'failed','cancelled',NULL);
INSERT INTO "changes" VALUES(80,14,1004.0,3,0,'failed','cancelled',NULL);
INSERT INTO "changes" VALUES(81,14,1004.0,1,0,'failed','cancelled',NULL);
INSERT INTO "changes" VALUES(82,14,1007.0,0,1,'failed','cancelled',143);
INSERT INTO "changes" VALUES(83,15,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(84,15,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(85,15,1302.0,1,0,'failed','cancelled',NULL);
INSERT INTO "changes" VALUES(86,15,1303.0,0,1,'failed','timeout',143);
INSERT INTO "changes" VALUES(87,16,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(88,16,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(89,16,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(90,16,1003.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(91,16,1005.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(92,17,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(93,17,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(94,17,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(95,17,1003.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(96,17,1005.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(97,17,1007.0,2,0,'failed','cancelled',NULL);
INSERT INTO "changes" VALUES(98,17,1008.0,1,1,'failed','cancelled',143);
INSERT INTO "changes" VALUES(99,18,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(100,18,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(101,18,1011.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(102,19,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(103,19,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(104,19,1011.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(105,19,1012.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(106,19,1012.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(107,19,1013.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(108,19,1013.0,2,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(109,19,1021.0,1,1,'completed','exit',0);
INSERT INTO "changes" VALUES(110,19,1021.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(111,19,1022.0,3,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(112,19,1023.0,3,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(113,19,1031.0,3,1,'completed','exit',0);
INSERT INTO "changes" VALUES(114,20,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(115,20,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(116,20,1011.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(117,20,1012.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(118,20,1012.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(119,20,1013.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(120,20,1013.0,2,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(121,20,1021.0,1,1,'completed','exit',0);
INSERT INTO "changes" VALUES(122,20,1021.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(123,20,1022.0,3,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(124,20,1023.0,3,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(125,20,1031.0,3,1,'completed','exit',0);
INSERT INTO "changes" VALUES(126,20,1040.0,0,1,'pending',NULL,NULL);
INSERT INTO "changes" VALUES(127,20,1040.0,1,1,'pending',NULL,NULL);
INSERT INTO "changes" VALUES(128,20,1042.0,0,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(129,20,1043.0,0,2,'running',NULL,NULL);
INSERT INTO "changes" VALUES(130,20,1051.0,0,2,'completed','exit',0);
INSERT INTO "changes" VALUES(131,20,1052.0,1,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(132,20,1052.0,2,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(133,20,1053.0,1,2,'running',NULL,NULL);
INSERT INTO "changes" VALUES(134,20,1053.0,2,2,'running',NULL,NULL);
INSERT INTO "changes" VALUES(135,20,1061.0,1,2,'completed','exit',0);
INSERT INTO "changes" VALUES(136,20,1061.0,2,2,'completed','exit',0);
INSERT INTO "changes" VALUES(137,21,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(138,21,1002.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(139,21,1003.0,0,1,'failed','exit',3);
INSERT INTO "changes" VALUES(140,21,1003.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(141,21,1003.0,1,0,'dep_failed','dependency',NULL);
INSERT INTO "changes" VALUES(142,22,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(143,22,1002.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(144,22,1003.0,0,1,'failed','exit',3);
INSERT INTO "changes" VALUES(145,22,1003.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(146,22,1003.0,1,0,'dep_failed','dependency',NULL);
INSERT INTO "changes" VALUES(147,22,1010.0,0,1,'pending',NULL,NULL);
INSERT INTO "changes" VALUES(148,22,1010.0,1,0,'pending',NULL,NULL);
INSERT INTO "changes" VALUES(149,23,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(150,23,1002.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(151,23,1003.0,0,1,'failed','exit',3);
INSERT INTO "changes" VALUES(152,23,1003.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(153,23,1003.0,1,0,'dep_failed','dependency',NULL);
INSERT INTO "changes" VALUES(154,23,1010.0,0,1,'pending',NULL,NULL);
INSERT INTO "changes" VALUES(155,23,1010.0,1,0,'pending',NULL,NULL);
INSERT INTO "changes" VALUES(156,23,1012.0,0,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(157,23,1013.0,0,2,'running',NULL,NULL);
INSERT INTO "changes" VALUES(158,23,1021.0,0,2,'completed','exit',0);
INSERT INTO "changes" VALUES(159,23,1022.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(160,23,1023.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(161,23,1031.0,1,1,'completed','exit',0);
INSERT INTO "changes" VALUES(162,24,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(163,24,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(164,24,1002.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(165,24,1002.0,3,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(166,24,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(167,24,1003.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(168,24,1003.0,2,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(169,24,1003.0,3,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(170,24,1005.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(171,24,1005.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(172,25,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(173,25,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(174,25,1002.0,2,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(175,25,1002.0,3,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(176,25,1003.0,0,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(177,25,1003.0,1,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(178,25,1003.0,2,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(179,25,1003.0,3,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(180,25,1005.0,0,1,'completed','exit',0);
INSERT INTO "changes" VALUES(181,25,1005.0,2,1,'completed','exit',0);
INSERT INTO "changes" VALUES(182,25,1009.0,1,1,'completed','exit',0);
INSERT INTO "changes" VALUES(183,25,1009.0,3,1,'completed','exit',0);
INSERT INTO "changes" VALUES(184,25,1010.0,4,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(185,25,1011.0,4,1,'running',NULL,NULL);
INSERT INTO "changes" VALUES(186,25,1019.0,4,1,'completed','exit',0);
INSERT INTO "changes" VALUES(187,26,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(188,26,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(189,27,1002.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(190,27,1002.0,1,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(191,27,1033.0,0,1,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(192,27,1063.0,0,1,'failed','queue_timeout',NULL);
INSERT INTO "changes" VALUES(193,27,1063.0,1,1,'pending','queue_timeout',NULL);
INSERT INTO "changes" VALUES(194,27,1064.0,1,2,'submitted',NULL,NULL);
INSERT INTO "changes" VALUES(195,27,1065.0,1,2,'running',NULL,NULL);
INSERT INTO "changes" VALUES(196,27,1073.0,1,2,'completed','exit',0);
CREATE TABLE edges (
        run INTEGER NOT NULL, source INTEGER NOT NULL, target INTEGER NOT NULL,
        PRIMARY KEY (run, source, target)
    ) WITHOUT ROWID
    ;
INSERT INTO "edges" VALUES(1,0,1);
INSERT INTO "edges" VALUES(1,0,2);
INSERT INTO "edges" VALUES(1,1,3);
INSERT INTO "edges" VALUES(1,2,3);
INSERT INTO "edges" VALUES(2,0,1);
INSERT INTO "edges" VALUES(2,0,2);
INSERT INTO "edges" VALUES(2,1,3);
INSERT INTO "edges" VALUES(2,2,3);
INSERT INTO "edges" VALUES(3,0,1);
INSERT INTO "edges" VALUES(3,0,2);
INSERT INTO "edges" VALUES(3,1,3);
INSERT INTO "edges" VALUES(3,2,3);
INSERT INTO "edges" VALUES(4,0,1);
INSERT INTO "edges" VALUES(4,0,2);
INSERT INTO "edges" VALUES(4,1,3);
INSERT INTO "edges" VALUES(4,2,3);
INSERT INTO "edges" VALUES(5,0,1);
INSERT INTO "edges" VALUES(5,0,2);
INSERT INTO "edges" VALUES(5,1,3);
INSERT INTO "edges" VALUES(5,2,3);
INSERT INTO "edges" VALUES(6,0,1);
INSERT INTO "edges" VALUES(6,1,2);
INSERT INTO "edges" VALUES(7,0,1);
INSERT INTO "edges" VALUES(7,1,2);
INSERT INTO "edges" VALUES(8,0,1);
INSERT INTO "edges" VALUES(9,0,1);
INSERT INTO "edges" VALUES(10,0,1);
INSERT INTO "edges" VALUES(13,0,2);
INSERT INTO "edges" VALUES(14,0,2);
INSERT INTO "edges" VALUES(15,0,1);
INSERT INTO "edges" VALUES(18,0,1);
INSERT INTO "edges" VALUES(18,0,2);
INSERT INTO "edges" VALUES(18,2,3);
INSERT INTO "edges" VALUES(19,0,1);
INSERT INTO "edges" VALUES(19,0,2);
INSERT INTO "edges" VALUES(19,2,3);
INSERT INTO "edges" VALUES(20,0,1);
INSERT INTO "edges" VALUES(20,0,2);
INSERT INTO "edges" VALUES(21,0,1);
INSERT INTO "edges" VALUES(22,0,1);
INSERT INTO "edges" VALUES(23,0,1);
INSERT INTO "edges" VALUES(24,-1,4);
INSERT INTO "edges" VALUES(24,0,-1);
INSERT INTO "edges" VALUES(24,1,-1);
INSERT INTO "edges" VALUES(24,2,-1);
INSERT INTO "edges" VALUES(24,3,-1);
INSERT INTO "edges" VALUES(25,-1,4);
INSERT INTO "edges" VALUES(25,0,-1);
INSERT INTO "edges" VALUES(25,1,-1);
INSERT INTO "edges" VALUES(25,2,-1);
INSERT INTO "edges" VALUES(25,3,-1);
CREATE TABLE form (needs INTEGER NOT NULL);
INSERT INTO "form" VALUES(3);
CREATE TABLE idempotency (
        key TEXT PRIMARY KEY, run INTEGER NOT NULL, body_digest TEXT NOT NULL
    ) WITHOUT ROWID
    ;
CREATE TABLE runs (
        run INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        workflow TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        message TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL,
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        total INTEGER NOT NULL,
        pending INTEGER NOT NULL,
        submitted INTEGER NOT NULL DEFAULT 0,
        running INTEGER NOT NULL DEFAULT 0,
        completed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        dep_failed INTEGER NOT NULL DEFAULT 0,
        barriers INTEGER NOT NULL DEFAULT 0,
        has_edges INTEGER NOT NULL DEFAULT 0,
        first_change INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0,
        stop_reason TEXT,
        stopped_at REAL
    , cost REAL, cost_lost REAL, losses INTEGER NOT NULL DEFAULT 0);
INSERT INTO "runs" VALUES(1,'completes.1','diamond','pending',NULL,'','me',1000.0,NULL,NULL,4,4,0,0,0,0,0,0,1,0,0,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(2,'completes.4','diamond','running',NULL,'','me',1000.0,1001.0,NULL,4,3,1,0,0,0,0,0,1,0,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(3,'completes.6','diamond','running',NULL,'','me',1000.0,1001.0,NULL,4,3,0,1,0,0,0,0,1,1,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(4,'completes.8','diamond','running',NULL,'','me',1000.0,1001.0,NULL,4,3,0,0,1,0,0,0,1,3,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(5,'completes','diamond','completed',NULL,'','me',1000.0,1001.0,1029.0,4,0,0,0,4,0,0,0,1,6,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(6,'fails.6','w','running',NULL,'','me',1000.0,1001.0,NULL,4,0,0,1,0,1,2,0,1,18,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(7,'fails','w','failed','task_failed','1 task failed, 2 not run because of it','me',1000.0,1001.0,1009.0,4,0,0,0,1,1,2,0,1,25,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(8,'retries.7','w','running',NULL,'','me',1000.0,1001.0,NULL,2,2,0,0,0,0,0,0,1,33,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(9,'retries.11','w','running',NULL,'','me',1000.0,1001.0,NULL,2,2,0,0,0,0,0,0,1,36,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(10,'retries','w','completed',NULL,'','me',1000.0,1001.0,1209.0,2,0,0,0,2,0,0,0,1,41,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(11,'loses.6','w','running',NULL,'','me',1000.0,1001.0,NULL,2,2,0,0,0,0,0,0,0,52,1,NULL,NULL,0.5,0.5,2);
INSERT INTO "runs" VALUES(12,'loses','w','completed',NULL,'','me',1000.0,1001.0,1019.0,2,0,0,0,2,0,0,0,0,58,1,NULL,NULL,1.5,0.5,2);
INSERT INTO "runs" VALUES(13,'is-cancelled.5','w','running',NULL,'','me',1000.0,1001.0,NULL,4,0,1,1,0,2,0,0,1,70,1,'cancelled',1004.0,NULL,NULL,0);
INSERT INTO "runs" VALUES(14,'is-cancelled','w','cancelled','cancelled','cancelled','me',1000.0,1001.0,1007.0,4,0,0,0,0,4,0,0,1,75,1,'cancelled',1004.0,NULL,NULL,0);
INSERT INTO "runs" VALUES(15,'is-late','w','failed','timeout','the run reached its time limit','me',1000.0,1001.0,1303.0,2,0,0,0,0,2,0,0,1,82,1,'timeout',1302.0,NULL,NULL,0);
INSERT INTO "runs" VALUES(16,'spends-its-money.7','w','running',NULL,'','me',1000.0,1001.0,NULL,3,1,0,1,1,0,0,0,0,86,1,NULL,NULL,1.5,0.0,0);
INSERT INTO "runs" VALUES(17,'spends-its-money','w','failed','budget','the run reached its max_cost','me',1000.0,1001.0,1008.0,3,0,0,0,1,2,0,0,0,91,1,'budget',1007.0,1.75,0.0,0);
INSERT INTO "runs" VALUES(18,'grows.6','w','running',NULL,'','me',1000.0,1001.0,NULL,4,3,0,0,1,0,0,0,1,98,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(19,'grows.16','w','completed',NULL,'','me',1000.0,1001.0,1031.0,4,0,0,0,4,0,0,0,1,101,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(20,'grows','w','completed',NULL,'','me',1000.0,1041.0,1061.0,3,0,0,0,3,0,0,0,1,113,2,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(21,'is-repeated.6','w','failed','task_failed','1 task failed, 1 not run because of it','me',1000.0,1001.0,1003.0,3,0,0,0,1,1,1,0,1,136,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(22,'is-repeated.8','w','pending',NULL,'','me',1000.0,NULL,NULL,3,2,0,0,1,0,0,0,1,141,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(23,'is-repeated','w','completed',NULL,'','me',1000.0,1011.0,1031.0,3,0,0,0,3,0,0,0,1,148,2,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(24,'runs-as-an-array.7','w','running',NULL,'','me',1000.0,1001.0,NULL,5,1,0,2,2,0,0,1,1,161,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(25,'runs-as-an-array','w','completed',NULL,'','me',1000.0,1001.0,1019.0,5,0,0,0,5,0,0,1,1,171,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(26,'waits-too-long.4','w','running',NULL,'','me',1000.0,1001.0,NULL,2,1,1,0,0,0,0,0,0,186,1,NULL,NULL,NULL,NULL,0);
INSERT INTO "runs" VALUES(27,'waits-too-long','w','failed','task_failed','1 task failed','me',1000.0,1001.0,1073.0,2,0,0,0,1,1,0,0,0,188,1,NULL,NULL,NULL,NULL,0);
CREATE TABLE settings (run INTEGER PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO "settings" VALUES(1,'{"env_vars":{"A":"1"},"backend":"local","tags":{"who":"me"}}');
INSERT INTO "settings" VALUES(2,'{"env_vars":{"A":"1"},"backend":"local","tags":{"who":"me"}}');
INSERT INTO "settings" VALUES(3,'{"env_vars":{"A":"1"},"backend":"local","tags":{"who":"me"}}');
INSERT INTO "settings" VALUES(4,'{"env_vars":{"A":"1"},"backend":"local","tags":{"who":"me"}}');
INSERT INTO "settings" VALUES(5,'{"env_vars":{"A":"1"},"backend":"local","tags":{"who":"me"}}');
INSERT INTO "settings" VALUES(6,'{"backend":"local"}');
INSERT INTO "settings" VALUES(7,'{"backend":"local"}');
INSERT INTO "settings" VALUES(8,'{"backend":"local"}');
INSERT INTO "settings" VALUES(9,'{"backend":"local"}');
INSERT INTO "settings" VALUES(10,'{"backend":"local"}');
INSERT INTO "settings" VALUES(11,'{"backend":"local"}');
INSERT INTO "settings" VALUES(12,'{"backend":"local"}');
INSERT INTO "settings" VALUES(13,'{"backend":"local"}');
INSERT INTO "settings" VALUES(14,'{"backend":"local"}');
INSERT INTO "settings" VALUES(15,'{"backend":"local","time_limit":300.0}');
INSERT INTO "settings" VALUES(16,'{"backend":"local","max_concurrent":2,"max_cost":1.0}');
INSERT INTO "settings" VALUES(17,'{"backend":"local","max_concurrent":2,"max_cost":1.0}');
INSERT INTO "settings" VALUES(18,'{"backend":"local"}');
INSERT INTO "settings" VALUES(19,'{"backend":"local"}');
INSERT INTO "settings" VALUES(20,'{"backend":"local"}');
INSERT INTO "settings" VALUES(21,'{"backend":"local"}');
INSERT INTO "settings" VALUES(22,'{"backend":"local"}');
INSERT INTO "settings" VALUES(23,'{"backend":"local"}');
INSERT INTO "settings" VALUES(24,'{"backend":"local"}');
INSERT INTO "settings" VALUES(25,'{"backend":"local"}');
INSERT INTO "settings" VALUES(26,'{"backend":"local"}');
INSERT INTO "settings" VALUES(27,'{"backend":"local"}');
CREATE TABLE specs (
        run INTEGER NOT NULL,
        pos INTEGER NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        created_at REAL NOT NULL,
        generated_by INTEGER,
        PRIMARY KEY (run, pos)
    ) WITHOUT ROWID
    ;
INSERT INTO "specs" VALUES(1,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(1,1,'b','{"command":"run b","deps":["a"],"priority":2}',1000.0,NULL);
INSERT INTO "specs" VALUES(1,2,'c','{"command":"run c","deps":["a"],"resources":{"cpus":2,"memory":4096,"gres":[],"time_limit":3600.0}}',1000.0,NULL);
INSERT INTO "specs" VALUES(1,3,'d','{"command":"run d","deps":["b","c"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(2,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(2,1,'b','{"command":"run b","deps":["a"],"priority":2}',1000.0,NULL);
INSERT INTO "specs" VALUES(2,2,'c','{"command":"run c","deps":["a"],"resources":{"cpus":2,"memory":4096,"gres":[],"time_limit":3600.0}}',1000.0,NULL);
INSERT INTO "specs" VALUES(2,3,'d','{"command":"run d","deps":["b","c"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(3,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(3,1,'b','{"command":"run b","deps":["a"],"priority":2}',1000.0,NULL);
INSERT INTO "specs" VALUES(3,2,'c','{"command":"run c","deps":["a"],"resources":{"cpus":2,"memory":4096,"gres":[],"time_limit":3600.0}}',1000.0,NULL);
INSERT INTO "specs" VALUES(3,3,'d','{"command":"run d","deps":["b","c"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(4,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(4,1,'b','{"command":"run b","deps":["a"],"priority":2}',1000.0,NULL);
INSERT INTO "specs" VALUES(4,2,'c','{"command":"run c","deps":["a"],"resources":{"cpus":2,"memory":4096,"gres":[],"time_limit":3600.0}}',1000.0,NULL);
INSERT INTO "specs" VALUES(4,3,'d','{"command":"run d","deps":["b","c"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(5,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(5,1,'b','{"command":"run b","deps":["a"],"priority":2}',1000.0,NULL);
INSERT INTO "specs" VALUES(5,2,'c','{"command":"run c","deps":["a"],"resources":{"cpus":2,"memory":4096,"gres":[],"time_limit":3600.0}}',1000.0,NULL);
INSERT INTO "specs" VALUES(5,3,'d','{"command":"run d","deps":["b","c"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(6,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(6,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(6,2,'c','{"command":"run c","deps":["b"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(6,3,'d','{"command":"run d"}',1000.0,NULL);
INSERT INTO "specs" VALUES(7,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(7,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(7,2,'c','{"command":"run c","deps":["b"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(7,3,'d','{"command":"run d"}',1000.0,NULL);
INSERT INTO "specs" VALUES(8,0,'a','{"command":"run a","retry":{"retries":2,"delay":60.0,"backoff":2.0,"on":[3]}}',1000.0,NULL);
INSERT INTO "specs" VALUES(8,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(9,0,'a','{"command":"run a","retry":{"retries":2,"delay":60.0,"backoff":2.0,"on":[3]}}',1000.0,NULL);
INSERT INTO "specs" VALUES(9,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(10,0,'a','{"command":"run a","retry":{"retries":2,"delay":60.0,"backoff":2.0,"on":[3]}}',1000.0,NULL);
INSERT INTO "specs" VALUES(10,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(11,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(11,1,'b','{"command":"run b"}',1000.0,NULL);
INSERT INTO "specs" VALUES(12,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(12,1,'b','{"command":"run b"}',1000.0,NULL);
INSERT INTO "specs" VALUES(13,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(13,1,'b','{"command":"run b"}',1000.0,NULL);
INSERT INTO "specs" VALUES(13,2,'c','{"command":"run c","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(13,3,'d','{"command":"run d"}',1000.0,NULL);
INSERT INTO "specs" VALUES(14,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(14,1,'b','{"command":"run b"}',1000.0,NULL);
INSERT INTO "specs" VALUES(14,2,'c','{"command":"run c","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(14,3,'d','{"command":"run d"}',1000.0,NULL);
INSERT INTO "specs" VALUES(15,0,'a','{"command":"run a","resources":{"cpus":1,"memory":4096,"gres":[],"time_limit":60.0}}',1000.0,NULL);
INSERT INTO "specs" VALUES(15,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(16,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(16,1,'b','{"command":"run b"}',1000.0,NULL);
INSERT INTO "specs" VALUES(16,2,'c','{"command":"run c"}',1000.0,NULL);
INSERT INTO "specs" VALUES(17,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(17,1,'b','{"command":"run b"}',1000.0,NULL);
INSERT INTO "specs" VALUES(17,2,'c','{"command":"run c"}',1000.0,NULL);
INSERT INTO "specs" VALUES(18,0,'gen','{"command":"run gen","generates_source":"g.json"}',1000.0,NULL);
INSERT INTO "specs" VALUES(18,1,'end','{"command":"run end","deps":["gen"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(18,2,'n.1','{"command":"run n.1","deps":["gen"]}',1011.0,0);
INSERT INTO "specs" VALUES(18,3,'n.2','{"command":"run n.2","deps":["n.1"]}',1011.0,0);
INSERT INTO "specs" VALUES(19,0,'gen','{"command":"run gen","generates_source":"g.json"}',1000.0,NULL);
INSERT INTO "specs" VALUES(19,1,'end','{"command":"run end","deps":["gen"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(19,2,'n.1','{"command":"run n.1","deps":["gen"]}',1011.0,0);
INSERT INTO "specs" VALUES(19,3,'n.2','{"command":"run n.2","deps":["n.1"]}',1011.0,0);
INSERT INTO "specs" VALUES(20,0,'gen','{"command":"run gen","generates_source":"g.json"}',1000.0,NULL);
INSERT INTO "specs" VALUES(20,1,'end','{"command":"run end","deps":["gen"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(20,2,'n.1','{"command":"run n.1","deps":["gen"]}',1051.0,0);
INSERT INTO "specs" VALUES(21,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(21,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(21,2,'c','{"command":"run c"}',1000.0,NULL);
INSERT INTO "specs" VALUES(22,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(22,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(22,2,'c','{"command":"run c"}',1000.0,NULL);
INSERT INTO "specs" VALUES(23,0,'a','{"command":"run a"}',1000.0,NULL);
INSERT INTO "specs" VALUES(23,1,'b','{"command":"run b","deps":["a"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(23,2,'c','{"command":"run c"}',1000.0,NULL);
INSERT INTO "specs" VALUES(24,0,'m.0','{"command":"run m.0"}',1000.0,NULL);
INSERT INTO "specs" VALUES(24,1,'m.1','{"command":"run m.1"}',1000.0,NULL);
INSERT INTO "specs" VALUES(24,2,'m.2','{"command":"run m.2"}',1000.0,NULL);
INSERT INTO "specs" VALUES(24,3,'m.3','{"command":"run m.3"}',1000.0,NULL);
INSERT INTO "specs" VALUES(24,4,'r','{"command":"run r","deps":["m.*"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(25,0,'m.0','{"command":"run m.0"}',1000.0,NULL);
INSERT INTO "specs" VALUES(25,1,'m.1','{"command":"run m.1"}',1000.0,NULL);
INSERT INTO "specs" VALUES(25,2,'m.2','{"command":"run m.2"}',1000.0,NULL);
INSERT INTO "specs" VALUES(25,3,'m.3','{"command":"run m.3"}',1000.0,NULL);
INSERT INTO "specs" VALUES(25,4,'r','{"command":"run r","deps":["m.*"]}',1000.0,NULL);
INSERT INTO "specs" VALUES(26,0,'a','{"command":"run a","max_queue_time":60.0}',1000.0,NULL);
INSERT INTO "specs" VALUES(26,1,'b','{"command":"run b","max_queue_time":60.0,"retry":{"retries":1,"delay":0.0,"backoff":2.0,"on":[]}}',1000.0,NULL);
INSERT INTO "specs" VALUES(27,0,'a','{"command":"run a","max_queue_time":60.0}',1000.0,NULL);
INSERT INTO "specs" VALUES(27,1,'b','{"command":"run b","max_queue_time":60.0,"retry":{"retries":1,"delay":0.0,"backoff":2.0,"on":[]}}',1000.0,NULL);
CREATE TABLE tasks (
        run INTEGER NOT NULL,
        pos INTEGER NOT NULL,
        state TEXT NOT NULL,
        remaining INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        backend TEXT NOT NULL,
        not_before REAL NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0,
        retries_used INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        message TEXT,
        exit_code INTEGER,
        submitted_at REAL,
        started_at REAL,
        ended_at REAL,
        handle TEXT,
        cause INTEGER,
        PRIMARY KEY (run, pos)
    ) WITHOUT ROWID
    ;
INSERT INTO "tasks" VALUES(1,0,'pending',0,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(1,1,'pending',1,2,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(1,2,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(1,3,'pending',2,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(2,0,'submitted',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(2,1,'pending',1,2,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(2,2,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(2,3,'pending',2,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(3,0,'running',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,1003.0,NULL,'job-a',NULL);
INSERT INTO "tasks" VALUES(3,1,'pending',1,2,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(3,2,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(3,3,'pending',2,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(4,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1009.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(4,1,'pending',0,2,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(4,2,'pending',0,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(4,3,'pending',2,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(5,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1009.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(5,1,'completed',0,2,'local',0.0,1,1,0,0,'exit',NULL,0,1010.0,1011.0,1019.0,'job-b-1010',NULL);
INSERT INTO "tasks" VALUES(5,2,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1010.0,1011.0,1019.0,'job-c-1010',NULL);
INSERT INTO "tasks" VALUES(5,3,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1020.0,1021.0,1029.0,'job-d-1020',NULL);
INSERT INTO "tasks" VALUES(6,0,'failed',0,0,'local',0.0,1,1,0,0,'exit','exit code 3',3,1002.0,1003.0,1005.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(6,1,'dep_failed',1,0,'local',0.0,0,0,0,0,'dependency',NULL,NULL,NULL,NULL,1005.0,NULL,0);
INSERT INTO "tasks" VALUES(6,2,'dep_failed',1,0,'local',0.0,0,0,0,0,'dependency',NULL,NULL,NULL,NULL,1005.0,NULL,0);
INSERT INTO "tasks" VALUES(6,3,'running',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,1003.0,NULL,'job-d',NULL);
INSERT INTO "tasks" VALUES(7,0,'failed',0,0,'local',0.0,1,1,0,0,'exit','exit code 3',3,1002.0,1003.0,1005.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(7,1,'dep_failed',1,0,'local',0.0,0,0,0,0,'dependency',NULL,NULL,NULL,NULL,1005.0,NULL,0);
INSERT INTO "tasks" VALUES(7,2,'dep_failed',1,0,'local',0.0,0,0,0,0,'dependency',NULL,NULL,NULL,NULL,1005.0,NULL,0);
INSERT INTO "tasks" VALUES(7,3,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1009.0,'job-d',NULL);
INSERT INTO "tasks" VALUES(8,0,'pending',0,0,'local',1065.0,1,1,1,0,'exit','exit code 3',3,1002.0,1003.0,NULL,'job-a1',NULL);
INSERT INTO "tasks" VALUES(8,1,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(9,0,'pending',0,0,'local',1187.0,2,1,2,0,'exit','exit code 3',3,1066.0,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(9,1,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(10,0,'completed',0,0,'local',0.0,3,1,2,0,'exit',NULL,0,1187.0,1188.0,1196.0,'job-a-1187',NULL);
INSERT INTO "tasks" VALUES(10,1,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1200.0,1201.0,1209.0,'job-b-1200',NULL);
INSERT INTO "tasks" VALUES(11,0,'pending',0,0,'local',1005.0,1,1,0,1,'lost','its job is gone',NULL,1002.0,1003.0,NULL,'job-a1',NULL);
INSERT INTO "tasks" VALUES(11,1,'pending',0,0,'local',1005.0,1,1,0,1,'host_terminated','Host EC2 (instance i-0) terminated',NULL,1002.0,1003.0,NULL,'job-b1',NULL);
INSERT INTO "tasks" VALUES(12,0,'completed',0,0,'local',0.0,2,1,0,1,'exit',NULL,0,1010.0,1011.0,1019.0,'job-a-1010',NULL);
INSERT INTO "tasks" VALUES(12,1,'completed',0,0,'local',0.0,2,1,0,1,'exit',NULL,0,1010.0,1011.0,1019.0,'job-b-1010',NULL);
INSERT INTO "tasks" VALUES(13,0,'running',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,1003.0,NULL,'job-a',NULL);
INSERT INTO "tasks" VALUES(13,1,'submitted',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(13,2,'failed',1,0,'local',0.0,0,0,0,0,'cancelled','cancelled before it started',NULL,NULL,NULL,1004.0,NULL,NULL);
INSERT INTO "tasks" VALUES(13,3,'failed',0,0,'local',0.0,0,0,0,0,'cancelled','cancelled before it started',NULL,NULL,NULL,1004.0,NULL,NULL);
INSERT INTO "tasks" VALUES(14,0,'failed',0,0,'local',0.0,1,1,0,0,'cancelled','cancelled while it ran',143,1002.0,1003.0,1007.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(14,1,'failed',0,0,'local',0.0,0,0,0,0,'cancelled','cancelled before it started',NULL,NULL,NULL,1004.0,NULL,NULL);
INSERT INTO "tasks" VALUES(14,2,'failed',1,0,'local',0.0,0,0,0,0,'cancelled','cancelled before it started',NULL,NULL,NULL,1004.0,NULL,NULL);
INSERT INTO "tasks" VALUES(14,3,'failed',0,0,'local',0.0,0,0,0,0,'cancelled','cancelled before it started',NULL,NULL,NULL,1004.0,NULL,NULL);
INSERT INTO "tasks" VALUES(15,0,'failed',0,0,'local',0.0,1,1,0,0,'timeout','stopped at its time limit of 1m',143,1002.0,1003.0,1303.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(15,1,'failed',1,0,'local',0.0,0,0,0,0,'cancelled','cancelled before it started',NULL,NULL,NULL,1302.0,NULL,NULL);
INSERT INTO "tasks" VALUES(16,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1005.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(16,1,'running',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,1003.0,NULL,'job-b',NULL);
INSERT INTO "tasks" VALUES(16,2,'pending',0,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(17,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1005.0,'job-a',NULL);
INSERT INTO "tasks" VALUES(17,1,'failed',0,0,'local',0.0,1,1,0,0,'cancelled','cancelled while it ran',143,1002.0,1003.0,1008.0,'job-b',NULL);
INSERT INTO "tasks" VALUES(17,2,'failed',0,0,'local',0.0,0,0,0,0,'cancelled','cancelled before it started',NULL,NULL,NULL,1007.0,NULL,NULL);
INSERT INTO "tasks" VALUES(18,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1011.0,'job-gen-1002',NULL);
INSERT INTO "tasks" VALUES(18,1,'pending',0,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(18,2,'pending',0,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(18,3,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(19,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1011.0,'job-gen-1002',NULL);
INSERT INTO "tasks" VALUES(19,1,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1012.0,1013.0,1021.0,'job-end-1012',NULL);
INSERT INTO "tasks" VALUES(19,2,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1012.0,1013.0,1021.0,'job-n.1-1012',NULL);
INSERT INTO "tasks" VALUES(19,3,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1022.0,1023.0,1031.0,'job-n.2-1022',NULL);
INSERT INTO "tasks" VALUES(20,0,'completed',0,0,'local',0.0,2,2,0,0,'exit',NULL,0,1042.0,1043.0,1051.0,'job-gen-1042',NULL);
INSERT INTO "tasks" VALUES(20,1,'completed',0,0,'local',0.0,2,2,0,0,'exit',NULL,0,1052.0,1053.0,1061.0,'job-end-1052',NULL);
INSERT INTO "tasks" VALUES(20,2,'completed',0,0,'local',0.0,2,2,0,0,'exit',NULL,0,1052.0,1053.0,1061.0,'job-n.1-1052',NULL);
INSERT INTO "tasks" VALUES(21,0,'failed',0,0,'local',0.0,1,1,0,0,'exit','exit code 3',3,1002.0,NULL,1003.0,NULL,NULL);
INSERT INTO "tasks" VALUES(21,1,'dep_failed',1,0,'local',0.0,0,0,0,0,'dependency',NULL,NULL,NULL,NULL,1003.0,NULL,0);
INSERT INTO "tasks" VALUES(21,2,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,NULL,1003.0,NULL,NULL);
INSERT INTO "tasks" VALUES(22,0,'pending',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(22,1,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(22,2,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,NULL,1003.0,NULL,NULL);
INSERT INTO "tasks" VALUES(23,0,'completed',0,0,'local',0.0,2,2,0,0,'exit',NULL,0,1012.0,1013.0,1021.0,'job-a-1012',NULL);
INSERT INTO "tasks" VALUES(23,1,'completed',0,0,'local',0.0,1,2,0,0,'exit',NULL,0,1022.0,1023.0,1031.0,'job-b-1022',NULL);
INSERT INTO "tasks" VALUES(23,2,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,NULL,1003.0,NULL,NULL);
INSERT INTO "tasks" VALUES(24,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1005.0,'job:0',NULL);
INSERT INTO "tasks" VALUES(24,1,'running',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,1003.0,NULL,'job:1',NULL);
INSERT INTO "tasks" VALUES(24,2,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1005.0,'job:2',NULL);
INSERT INTO "tasks" VALUES(24,3,'running',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,1003.0,NULL,'job:3',NULL);
INSERT INTO "tasks" VALUES(24,4,'pending',1,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(25,0,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1005.0,'job:0',NULL);
INSERT INTO "tasks" VALUES(25,1,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1009.0,'job:1',NULL);
INSERT INTO "tasks" VALUES(25,2,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1005.0,'job:2',NULL);
INSERT INTO "tasks" VALUES(25,3,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1002.0,1003.0,1009.0,'job:3',NULL);
INSERT INTO "tasks" VALUES(25,4,'completed',0,0,'local',0.0,1,1,0,0,'exit',NULL,0,1010.0,1011.0,1019.0,'job-r-1010',NULL);
INSERT INTO "tasks" VALUES(26,0,'pending',0,0,'local',0.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(26,1,'submitted',0,0,'local',0.0,1,1,0,0,NULL,NULL,NULL,1002.0,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(27,0,'failed',0,0,'local',0.0,1,1,0,0,'queue_timeout','waited longer than 1m for a machine',NULL,1033.0,NULL,1063.0,NULL,NULL);
INSERT INTO "tasks" VALUES(27,1,'completed',0,0,'local',0.0,2,1,1,0,'exit',NULL,0,1064.0,1065.0,1073.0,'job-b-1064',NULL);
CREATE INDEX runs_by_time ON runs (created_at, id);
CREATE UNIQUE INDEX specs_by_id ON specs (run, id);
CREATE INDEX tasks_ready ON tasks (run, priority DESC, pos)
        WHERE state = 'pending' AND remaining = 0
    ;
CREATE INDEX tasks_active ON tasks (run, pos) WHERE state IN ('submitted', 'running');
COMMIT;
PRAGMA user_version = 3;
