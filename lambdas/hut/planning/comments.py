r"""Where the command of a shell line ends and its comment begins, as a shell sees it.

A comment begins with a ``#`` at the beginning of a word that is outside of quotes and expansions: not
in ``"a # b"``, ``a#b``, ``\#``, ``$#``, ``${x#y}``, ``$((16#ff))``. What is opened and never closed is
found on the way. This is no parser of shell: what does not matter for either is passed over.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

__all__ = ["SplitLine", "split_line"]

_NOTHING_SPECIAL: Final = re.compile(r"[^#'\"\\`$]*")
_WORD: Final = re.compile(r"[^ \t#'\"\\`$;&|()<>{}]+")
_IN_QUOTES: Final = re.compile(r'[^"\\`$]+')
_KEEPS_COMMAND: Final = frozenset({"!", "do", "elif", "else", "if", "then", "until", "while"})

_Kind = Literal["command", "case", "quotes", "parameter", "arithmetic"]


class SplitLine(NamedTuple):
    """A line in its two parts.

    Attributes
    ----------
    command : str
        Stripped, but for a space at its end that a backslash keeps.
    comment : str
        From its ``#`` on; empty if there is none.
    unclosed : tuple of str and int, or None
        What was opened and never closed, and its 1-based column.
    joined : tuple of int
        Places in the line where a ``#`` is a part of a word: with a space before, it would begin the
        comment.
    """

    command: str
    comment: str = ""
    unclosed: tuple[str, int] | None = None
    joined: tuple[int, ...] = ()


class _Open(NamedTuple):
    """Something that has begun: how it is read, what ends it, and what and where it was."""

    kind: _Kind
    end: str
    what: str
    column: int


def split_line(line: str) -> SplitLine:
    """Return the command of a line, its comment, and what is not closed."""
    if _NOTHING_SPECIAL.fullmatch(line):
        return SplitLine(line.strip())
    scanner = _Scanner(line)
    end, unclosed = scanner.scan()
    return SplitLine(_stripped(line[:end]), line[end:], unclosed, tuple(scanner.joined))


def _stripped(text: str) -> str:
    command = text.strip()
    backslashes = len(command) - len(command.rstrip("\\"))
    if backslashes % 2 and len(text.rstrip()) < len(text):
        command += text[len(text.rstrip())]  # the space is a part of the last word
    return command


class _Scanner:
    """Reads one line from left to right."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._at = 0
        self._open: list[_Open] = []
        self._in_word = False
        self._first = True  # the next word is a command's name, or a reserved word
        self.joined: list[int] = []

    def scan(self) -> tuple[int, tuple[str, int] | None]:
        """Return where the command ends, and what is not closed."""
        line = self._line
        while self._at < len(line):
            kind = self._open[-1].kind if self._open else "command"
            if kind in ("command", "case"):
                if self._command():
                    break
            elif kind == "quotes":
                self._quotes()
            else:
                self._expansion(kind)
        if not self._open:
            return min(self._at, len(line)), None
        # Whatever was opened first is what nothing after it could close.
        return len(line), (self._open[0].what, self._open[0].column)

    def _command(self) -> bool:
        """Take one step in commands; say whether a comment of the line itself begins here."""
        line, at = self._line, self._at
        character = line[at]
        if character == "#" and not self._in_word:
            if not self._open:
                return True
            self._at = len(line)  # the comment takes along what would close the substitution
        elif character in " \t":
            self._at += 1
            self._in_word = False
        elif character in ";&|<>(":
            self._at += 1
            self._in_word, self._first = False, character not in "<>"
            if character == "(" and self._open:
                self._push("command", ")", "(", at)
        elif character == ")":
            self._at += 1
            if self._open and self._open[-1].kind == "command":
                self._pop()
            else:  # the end of a pattern, or of a subshell
                self._in_word, self._first = False, True
        elif character == "'":
            self._single_quotes()
        elif not self._special():
            self._word()
        return False

    def _word(self) -> None:
        """Read letters; notice the words around which parentheses need not be balanced."""
        found = _WORD.match(self._line, self._at)
        if found is None:
            if self._line[self._at] == "#":
                self.joined.append(self._at)
            self._at += 1
            self._in_word = True
            return
        word, whole = found[0], not self._in_word
        self._at = found.end()
        self._in_word = True
        if not (whole and self._first):
            return
        if self._open and word == "case":
            self._push("case", "esac", "case", found.start())
            self._first, self._in_word = False, True
        elif word == "esac" and self._open and self._open[-1].kind == "case":
            self._pop()
        elif word not in _KEEPS_COMMAND:
            self._first = False

    def _special(self) -> bool:
        """Read what means the same in commands, in quotes and in expansions, if it stands here."""
        line, at = self._line, self._at
        character = line[at]
        if character == "\\":
            self._at += 2
            self._in_word, self._first = True, False
        elif character == '"':
            self._at += 1
            self._push("quotes", '"', 'quote "', at)
        elif character == "`":
            self._backquotes()
        elif character == "$":
            self._dollar()
        else:
            return False
        return True

    def _dollar(self) -> None:
        line, at = self._line, self._at
        self._in_word, self._first = True, False
        if line.startswith("$((", at):
            self._at += 3
            self._push("arithmetic", ")", "$((", at)
            self._push("arithmetic", ")", "$((", at)
        elif line.startswith("$(", at):
            self._at += 2
            self._push("command", ")", "$(", at)
            self._in_word, self._first = False, True
        elif line.startswith("${", at):
            self._at += 2
            self._push("parameter", "}", "${", at)
        elif line.startswith("$'", at) and not self._quoted():
            self._at += 1
            self._single_quotes(escapes=True)
        else:
            self._at += 2 if line.startswith(("$#", "$$"), at) else 1

    def _quotes(self) -> None:
        found = _IN_QUOTES.match(self._line, self._at)
        if found is not None:
            self._at = found.end()
        elif self._line[self._at] == '"':
            self._at += 1
            self._pop()
        else:
            self._special()

    def _expansion(self, kind: _Kind) -> None:
        """Take one step in ``${...}`` or ``$((...))``, where no comment begins."""
        character = self._line[self._at]
        if character == self._open[-1].end:
            self._at += 1
            self._pop()
        elif kind == "arithmetic" and character == "(":
            self._push("arithmetic", ")", "(", self._at)
            self._at += 1
        elif character == "'" and kind == "parameter" and not self._quoted():
            self._single_quotes()
        elif not self._special():
            self._at += 1

    def _single_quotes(self, *, escapes: bool = False) -> None:
        start, line = self._at, self._line
        self._at += 1
        while self._at < len(line) and line[self._at] != "'":
            self._at += 2 if escapes and line[self._at] == "\\" else 1
        if escapes and self._at >= len(line):  # a shell that knows no $'...' takes it for '...'
            self._at = start
            self._single_quotes()
        else:
            self._closed_at("quote '", start)

    def _backquotes(self) -> None:
        """Pass over a substitution: it ends with the next mark that has no backslash before it."""
        start = self._at
        self._at += 1
        while self._at < len(self._line) and self._line[self._at] != "`":
            self._at += 2 if self._line[self._at] == "\\" else 1
        self._closed_at("backquote", start)

    def _closed_at(self, what: str, start: int) -> None:
        self._in_word, self._first = True, False
        if self._at < len(self._line):
            self._at += 1
        else:
            self._open.append(_Open("quotes", "", what, start + 1))

    def _quoted(self) -> bool:
        """Say whether a double quote stands around this place, within the innermost command."""
        for each in reversed(self._open):
            if each.kind == "quotes":
                return True
            if each.kind in ("command", "case"):
                return False
        return False

    def _push(self, kind: _Kind, end: str, what: str, start: int) -> None:
        self._open.append(_Open(kind, end, what, start + 1))

    def _pop(self) -> None:
        self._open.pop()
        self._in_word, self._first = True, False
