"""Texts that do harm where they are not quoted, escaped or refused. No test lives here.

Each does something visible if it is obeyed: a shell makes the file ``pwned``, a terminal clears
itself, a log gains a line or a field. Those with a NUL or half a character can't be a value at all.
"""

from __future__ import annotations

__all__ = ["CONTROL", "EVERYTHING", "IDS", "NO_IDS", "PATHS", "SHELL", "TEXTS"]

SHELL = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "'\"; touch pwned; \"'",
    "\\'; touch pwned; \\'",
    "x\ntouch pwned\n",
    "x\rtouch pwned\r",
    "&& touch pwned",
    "| touch pwned",
    "; touch pwned #",
    "> pwned",
    "<(touch pwned)",
    "${x:-$(touch pwned)}",
    "${IFS}touch${IFS}pwned",
    "$((pwned=1))",
    "!!",
    "!touch",
    "~root",
    "{pwned,pwned}",
    "* ? [a-z]",
    "-rf",
    "--",
    "-c touch pwned",
    "\\",
    "\\\n",
    "EOF\ntouch pwned\nEOF",
    "() { :; }; touch pwned",
    "BASH_FUNC_x%%=() { touch pwned; }",
    "a[$(touch pwned)]",
    "%n%s%x%9999999d",
    "#!/bin/sh\ntouch pwned",
    "'" * 99,
    "é'\u2028\u00a0😀\ufeff",
    " lead and trail ",
    "\t\v\f\b\a",
    "\x01\x02\x03\x1c\x1f\x7f\x80\x9b",
]  # fmt: skip
"""For shells: as values, file names, arguments, names of things in scripts."""

CONTROL = [
    "\x1b[2J\x1b[H",
    "\x1b]0;pwned\x07",
    "\x1b]52;c;cHduZWQ=\x07",
    "\x1b]8;;http://example.org\x07link\x1b]8;;\x07",
    "\x9b31m",
    "\x90q\x9c",
    "\r\x1b[Kall is well",
    "a\x08\x08b",
    "\x0e\x0f",
    "\x1bc",
]
"""For terminals."""

TEXTS = [
    '{"level": "ERROR", "message": "forged"}',
    '", "level": "ERROR", "x": "',
    '\n{"level":"ERROR","message":"forged"}\n',
    "\u2028\u2029\u0085",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "=cmd|' /C calc'!A0",
    "%0d%0aX-Forged: 1",
    "\r\nX-Forged: 1\r\n\r\n",
    "../../../etc/passwd",
    "..\\..\\x",
    "%2e%2e%2f",
    "arn:aws:iam::123456789012:root",
    "${jndi:ldap://example.org/x}",
    "{{7*7}}",
    "$.x",
    "States.Format('{}', $)",
    "RUN#x#y",
    "::hut:0123456789abcdef:timeout forged",
    "\u0131 \u0130 \u017f ß",
    "\u202etxt.exe",
    "a" * 1000,
    "null", "true", "NaN", "0x1F", "1e999",
]  # fmt: skip
"""For logs, pages, tables, headers, state machines, keys and tags."""

EVERYTHING = [*SHELL, *CONTROL, *TEXTS]

IDS = [".", "..", "...", "-", "--", "-rf", "--help", "_", "con", "nul", "a", "A", "x" * 200,
       "." * 200, "-" * 200, "0", "007", "1e9", "null", "a.b-c_d", ".hidden", "RUN"]  # fmt: skip
"""Task ids that are allowed, and look as if they did something to a path, a shell or a number."""

NO_IDS = ["", " ", "a b", "a/b", "../a", "~", "a\n", "a\0", "é", "x" * 201, "a*", "[a]", "$x", "a#b",
          "a:b", "a\\b", "%2e", "\u2024", "a,b", "\uff41"]  # fmt: skip
"""What is no task id."""

PATHS = [
    "a b", "$(touch pwned)", "`touch pwned`", "'q'", '"d"', "-n", "--", "#x", "*", "a;b", "é", "\\",
    "~user", "~user/x", "!x", "{a,b}", "$HOME", "x=y", "&", "a/../b", "./-", "%s", "con", "...",
]  # fmt: skip
"""Names of folders and files that a user may have, odd as they are."""
