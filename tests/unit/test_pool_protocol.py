"""What workers and pools write to each other is read back as it was, and wrong documents are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hut.model.problems import InvalidInput
from hut.pools.port import Answer, How, Order, Report, Started, Turn, WorkerSpec
from hut.pools.protocol import (
    Welcome,
    answer_document,
    join_document,
    read_answer,
    read_join,
    read_turn,
    read_welcome,
    turn_document,
    welcome_document,
)

ORDER = Order("l1", 2, "run1", "a.b", 1, "true\n")
FULL_ORDER = ORDER._replace(
    part=3,
    url="https://bucket/script",
    shell="bash",
    private=False,
    folder="/home/me",
    takes={"gpu": 2},
    output_file="/out",
    error_file="/err",
    log="/logs/0-a.1",
    time_limit=0.5,
    grace=0.0,
)
SPEC = WorkerSpec("w", {"gpu": "2"}, 4, 8, "host", 12, "0.1.0", (("l1", 1), ("l2", 3)))
TURN = Turn(
    5,
    (Started("l1", 1, 10.5, pid=7), Started("l2", 1, 11.0, part=1, log="s#1")),
    (
        Report("l1", 1, How.EXIT, 12.0, exit_code=0, started_at=10.5, pid=7),
        Report("l3", 1, How.SIGNAL, 12.0, signal=9),
        Report("l4", 1, How.NOT_STARTED, 12.0, said="no such folder\nx", log="s#2", part=4),
    ),
    ("l1", "l2"),
    ("l2",),
    1.5,
)


def through_json(document: Any) -> Any:
    return json.loads(json.dumps(document))


@pytest.mark.parametrize("spec", [SPEC, WorkerSpec("w")])
def test_a_worker_that_joins(spec: WorkerSpec) -> None:
    assert read_join(through_json(join_document(spec))) == spec


@pytest.mark.parametrize("turn", [TURN, Turn(), Turn(holding=())])
def test_a_turn(turn: Turn) -> None:
    assert read_turn(through_json(turn_document(turn))) == turn


@pytest.mark.parametrize(
    "answer",
    [Answer(), Answer((ORDER, FULL_ORDER), ("l1",), ("l2",), draining=True, gone=True, ring=True)],
)
def test_an_answer(answer: Answer) -> None:
    assert read_answer(through_json(answer_document(answer))) == answer


@pytest.mark.parametrize(
    "welcome",
    [Welcome("w-1", 1.0, 5.0), Welcome("w-1", 10.0, 30.0, True, "https://q", ("l1",), "g", "s")],
)
def test_a_welcome(welcome: Welcome) -> None:
    assert read_welcome(through_json(welcome_document(welcome))) == welcome


def test_what_is_at_its_default_is_not_written() -> None:
    assert turn_document(Turn(reports=(Report("l", 1, How.RETURNED, 1.0),))) == {
        "want": 0,
        "reports": [{"lease": "l", "epoch": 1, "how": How.RETURNED, "ended_at": 1.0}],
    }


def faults(read: Any, document: object) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        read(document)
    return [str(problem.field) for problem in refused.value.problems]


def test_every_problem_of_a_join_is_told_at_once() -> None:
    wrong = {
        "nam": "w",
        "properties": {"gpu": 2, "a\nb": "x", "": "y"},
        "slots": 0,
        "max_inflight": True,
        "pid": "1",
        "host": "a\x1b[0m",
        "holding": [{"lease": "l", "epoch": 0}, "l"],
    }
    assert sorted(faults(read_join, wrong)) == sorted(
        [
            "nam",
            "holding[0].epoch",
            "holding[1]",
            "holding[1].lease",
            "holding[1].epoch",
            "name",
            "properties.gpu",
            "properties.a\nb",
            "properties.",
            "slots",
            "max_inflight",
            "host",
            "pid",
        ]
    )


def test_every_problem_of_a_turn_is_told_at_once() -> None:
    report = {"lease": "l", "epoch": 1, "how": "exit", "ended_at": 1.0}
    wrong = {
        "want": -1,
        "starts": [{"lease": "l", "epoch": 1, "at": "now"}],
        "reports": [
            report,
            {**report, "how": "signal"},
            {**report, "how": "died"},
            {**report, "exit_code": 256, "ended_at": None},
            {**report, "exit_code": 0, "started_at": float("nan")},
        ],
        "holding": "l",
        "stopping": [1],
        "extra": 1,
    }
    assert sorted(faults(read_turn, wrong)) == sorted(
        [
            "extra",
            "want",
            "starts[0].at",
            "reports[0].exit_code",
            "reports[1].signal",
            "reports[2].how",
            "reports[3].exit_code",
            "reports[3].ended_at",
            "reports[4].started_at",
            "holding",
            "stopping[0]",
        ]
    )


@pytest.mark.parametrize("document", [None, [], "x", 1, {"want": 1.5}, {"want": None}])
@pytest.mark.parametrize("read", [read_join, read_turn])
def test_what_is_no_such_document_is_refused(read: Any, document: object) -> None:
    assert faults(read, document)


def test_lists_are_bounded() -> None:
    assert faults(read_turn, {"holding": ["l"] * 10_001}) == ["holding"]


def test_a_later_pool_may_say_more() -> None:
    document = answer_document(Answer((ORDER,)))
    document["tasks"][0]["later"] = 1
    assert read_answer({**document, "later": 1}) == Answer((ORDER,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lease", ""),
        ("epoch", 0),
        ("shell", "zsh"),
        ("takes", {"gpu": -1}),
        ("time_limit", 0),
        ("private", 1),
        ("output_file", 1),
    ],
)
def test_an_order_that_can_not_be_followed_is_refused(field: str, value: object) -> None:
    document = through_json(answer_document(Answer((ORDER,))))
    document["tasks"][0][field] = value
    assert faults(read_answer, document) == [f"tasks[0].{field}"]


def test_an_order_without_its_script_is_refused() -> None:
    document = through_json(answer_document(Answer((ORDER,))))
    del document["tasks"][0]["script"]
    assert faults(read_answer, document) == ["tasks[0].script"]
