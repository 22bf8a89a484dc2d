"""DynamoDB's expressions: conditions, filters, key conditions, projections and updates.

An expression is read once and kept as a function; placeholders are looked up at each call. What is
wrong with one is said as DynamoDB says it (see "Using expressions" in AWS's developer guide).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from tests.simulation.attribute_values import ORDERED, SETS, invalid

__all__ = ["Call", "Constant", "Node", "Parsed", "Path", "Step", "parse", "parts_of"]

_LONGEST = 4096  # bytes
_MOST_OPERANDS = 99  # of IN, beside what is looked for
_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-z][A-Za-z0-9_]*|[#:][A-Za-z0-9_]+)|(?P<number>[0-9]+)"
    r"|(?P<sign><>|<=|>=|[=<>()\[\],.+-]))"
)
_COMPARATORS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_PREDICATES = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
}
_OF_A_PATH = frozenset({"attribute_exists", "attribute_not_exists"})
_KEYWORDS = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"})
_SECTIONS = frozenset({"SET", "REMOVE", "ADD", "DELETE"})
_TYPES = frozenset({"S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"})
_LONG_NAMES = {
    "S": "STRING",
    "N": "NUMBER",
    "B": "BINARY",
    "BOOL": "BOOLEAN",
    "L": "LIST",
    "M": "MAP",
}


class Path(NamedTuple):
    """The way to an attribute: names, or placeholders of names, and numbers of list elements."""

    parts: tuple[str | int, ...]


class Constant(NamedTuple):
    """A placeholder of a value."""

    name: str


class Call(NamedTuple):
    """A function, comparator or keyword with what it is applied to."""

    name: str
    operands: tuple[Any, ...]


Node = Path | Constant | Call


class Step(NamedTuple):
    """One action of an update."""

    section: str
    path: Path
    operand: Node | None


class Parsed(NamedTuple):
    """What an expression says.

    Attributes
    ----------
    tree : Node, or tuple of Step or Path
        Of a condition, an update or a projection.
    names, values : tuple of str
        Placeholders that occur.
    heads : tuple of str
        Attributes, or placeholders of their names, at the beginning of paths.
    kinds : tuple
        For placeholders of values that must have a certain type: name, types, what for.
    """

    kind: str
    tree: Any
    names: tuple[str, ...]
    values: tuple[str, ...]
    heads: tuple[str, ...]
    kinds: tuple[tuple[str, frozenset[str], str], ...]

    def check(self, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """Refuse a call that does not define what it uses, or not as it may be."""
        for name in self.names:
            if name not in names:
                raise self._wrong(
                    "An expression attribute name used in the document path is not defined; "
                    f"attribute name: {name}"
                )
        for name in self.values:
            if name not in values:
                raise self._wrong(
                    "An expression attribute value used in expression is not defined; "
                    f"attribute value: {name}"
                )
        for name, allowed, operator in self.kinds:
            (found,) = values[name]
            if found not in allowed:
                raise self._wrong(
                    "Incorrect operand type for operator or function; "
                    f"operator: {operator}, operand type: {_LONG_NAMES.get(found, found)}"
                )
            if operator == "attribute_type" and values[name]["S"] not in _TYPES:
                raise self._wrong(f"Invalid attribute type name found; type: {values[name]['S']}")

    def attributes(self, names: Mapping[str, str]) -> list[str]:
        """Return the attributes that occur."""
        return [names.get(head, head) for head in self.heads]

    def _wrong(self, message: str) -> Exception:
        return invalid(f"Invalid {self.kind}: {message}")


@lru_cache(4096)
def parse(kind: str, text: str) -> Parsed:
    """Read an expression of a kind: the name of the argument that it is.

    Raises
    ------
    ClientError
        If it is none.
    """
    return _Reader(kind, text).read()


def parts_of(path: Path, names: Mapping[str, str]) -> tuple[str | int, ...]:
    """Return the way to an attribute with the names put in."""
    return tuple(
        names[part] if isinstance(part, str) and part[0] == "#" else part for part in path.parts
    )


class _Reader:
    """Reads by recursive descent; each method reads what it is named after."""

    def __init__(self, kind: str, text: str) -> None:
        self._kind = kind
        self._text = text
        self._at = 0
        self._names: dict[str, None] = {}
        self._values: dict[str, None] = {}
        self._heads: dict[str, None] = {}
        self._kinds: list[tuple[str, frozenset[str], str]] = []
        self._tokens = list(self._split())

    def read(self) -> Parsed:
        if not self._tokens:
            raise self._wrong("The expression can not be empty;")
        if len(self._text.encode()) > _LONGEST:
            raise self._wrong("Expression size has exceeded the maximum allowed size;")
        by_kind: dict[str, Callable[[], Any]] = {
            "UpdateExpression": self._update,
            "ProjectionExpression": lambda: tuple(self._list(self._path)),
        }
        tree = by_kind.get(self._kind, self._condition)()
        if self._next():
            raise self._syntax()
        return Parsed(
            self._kind,
            tree,
            tuple(self._names),
            tuple(self._values),
            tuple(self._heads),
            tuple(self._kinds),
        )

    # Tokens

    def _split(self) -> Iterator[tuple[str, int]]:
        at, text = 0, self._text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                near = text[max(0, at - 5) :][:20]
                raise self._wrong(f'Syntax error; token: "{text[at:].strip()[:1]}", near: "{near}"')
            yield found[found.lastgroup or 0], found.start(found.lastgroup or 0)
            at = found.end()

    def _next(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at][0] if at < len(self._tokens) else ""

    def _word(self) -> str:
        return self._next().upper()

    def _take(self, *allowed: str) -> str:
        token = self._next()
        if allowed and token.upper() not in allowed:
            raise self._syntax()
        self._at += 1
        return token

    def _syntax(self) -> Exception:
        token = self._next() or "<EOF>"
        at = self._tokens[self._at][1] if self._next() else len(self._text)
        near = self._text[max(0, at - 10) : at + len(token) + 10].strip()
        return self._wrong(f'Syntax error; token: "{token}", near: "{near}"')

    def _wrong(self, message: str) -> Exception:
        return invalid(f"Invalid {self._kind}: {message}")

    def _list(self, read: Callable[[], Any]) -> list[Any]:
        found = [read()]
        while self._next() == ",":
            self._take()
            found.append(read())
        return found

    # Operands

    def _name(self) -> str:
        token = self._take()
        if token[:1] == "#":
            self._names[token] = None
        elif not token[:1].isalpha() or token.upper() in _KEYWORDS:
            self._at -= 1
            raise self._syntax()
        elif _is_reserved(token):
            raise self._wrong(f"Attribute name is a reserved keyword; reserved keyword: {token}")
        return token

    def _path(self) -> Path:
        parts: list[str | int] = [self._name()]
        while self._next() in {".", "["}:
            if self._take() == ".":
                parts.append(self._name())
                continue
            if not self._next().isdecimal():
                raise self._syntax()
            parts.append(int(self._take()))
            self._take("]")
        self._heads[str(parts[0])] = None
        return Path(tuple(parts))

    def _operand(self) -> Node:
        token = self._next()
        if token[:1] == ":":
            self._values[self._take()] = None
            return Constant(token)
        if self._next(1) == "(" and token.isidentifier() and self._word() not in _KEYWORDS:
            return self._function(token)
        return self._path()

    def _function(self, name: str) -> Call:
        self._take()
        self._take("(")
        operands = tuple(self._list(self._operand))
        self._take(")")
        wanted = {"size": 1, "if_not_exists": 2, "list_append": 2, **_PREDICATES}.get(name)
        is_update = self._kind == "UpdateExpression"
        if wanted is None or is_update != (name in {"if_not_exists", "list_append"}):
            raise self._wrong(f"Invalid function name; function: {name}")
        if len(operands) != wanted:
            raise self._wrong(
                "Incorrect number of operands for operator or function; operator or function: "
                f"{name}, number of operands: {len(operands)}"
            )
        if any(isinstance(each, Call) and each.name == "list_append" for each in operands):
            raise self._wrong(
                "The function is not allowed to be used this way in an expression; "
                "function: list_append"
            )
        must_be_path = name in _OF_A_PATH or name == "if_not_exists"
        if must_be_path and not isinstance(operands[0], Path):
            raise self._wrong(
                f"Operator or function requires a document path; operator or function: {name}"
            )
        if name == "begins_with":
            self._must_be(operands, {"S", "B"}, name)
        elif name == "attribute_type":
            if not isinstance(operands[1], Constant):
                raise self._wrong("Incorrect operand type for operator or function;")
            self._must_be(operands[1:], {"S"}, name)
        elif name == "list_append":
            self._must_be(operands, {"L"}, name)
        elif name == "size":
            self._must_be(operands, _TYPES - {"N", "BOOL", "NULL"}, name)
        return Call(name, operands)

    def _must_be(self, operands: Any, allowed: Any, operator: str) -> None:
        for operand in operands:
            if isinstance(operand, Constant):
                self._kinds.append((operand.name, frozenset(allowed), operator))

    # Conditions

    def _condition(self) -> Node:
        found = self._conjunction()
        while self._word() == "OR":
            self._take()
            found = Call("OR", (found, self._conjunction()))
        return found

    def _conjunction(self) -> Node:
        found = self._negation()
        while self._word() == "AND":
            self._take()
            found = Call("AND", (found, self._negation()))
        return found

    def _negation(self) -> Node:
        if self._word() == "NOT":
            self._take()
            return Call("NOT", (self._negation(),))
        if self._next() == "(":
            return self._parenthesis()
        return self._comparison()

    def _parenthesis(self) -> Node:
        start = self._at
        self._take("(")
        found = self._condition()
        inner = self._tokens[start + 1][0] == "(" and self._closing(start + 1) == self._at - 1
        self._take(")")
        if inner:
            raise self._wrong("The expression has redundant parentheses;")
        return found

    def _closing(self, start: int) -> int:
        depth = 0
        for at in range(start, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._tokens[at][0], 0)
            if not depth:
                return at
        return -1

    def _comparison(self) -> Node:
        left = self._operand()
        if isinstance(left, Call) and left.name in _PREDICATES:
            return left
        word = self._word()
        if word in _COMPARATORS:
            self._take()
            operands = (left, self._compared())
            if word not in {"=", "<>"}:
                self._must_be(operands, ORDERED, word)
            if left == operands[1]:
                raise self._wrong(
                    "The first operand must be distinct from the remaining operands for this "
                    f"operator or function; operator: {word}, first operand: {left[0]}"
                )
            return Call(word, operands)
        if word == "BETWEEN":
            self._take()
            low = self._compared()
            self._take("AND")
            operands = (left, low, self._compared())
            self._must_be(operands, ORDERED, "BETWEEN")
            return Call("BETWEEN", operands)
        if word == "IN":
            self._take()
            self._take("(")
            among = self._list(self._compared)
            self._take(")")
            if len(among) > _MOST_OPERANDS:
                raise self._wrong(
                    "Incorrect number of operands for operator or function; operator or function: "
                    f"IN, number of operands: {len(among)}"
                )
            return Call("IN", (left, *among))
        raise self._syntax()

    def _compared(self) -> Node:
        found = self._operand()
        if isinstance(found, Call) and found.name in _PREDICATES:
            raise self._wrong(
                f"The function is not allowed to be used this way in an expression; "
                f"function: {found.name}"
            )
        return found

    # Updates

    def _update(self) -> tuple[Step, ...]:
        steps: list[Step] = []
        seen: set[str] = set()
        while self._next():
            section = self._take(*_SECTIONS).upper()
            if section in seen:
                raise self._wrong(
                    f'The "{section}" section can only be used once in an update expression;'
                )
            seen.add(section)
            steps.extend(self._list(lambda section=section: self._step(section)))
        return tuple(steps)

    def _step(self, section: str) -> Step:
        path = self._path()
        if section == "REMOVE":
            return Step(section, path, None)
        if section == "SET":
            self._take("=")
            return Step(section, path, self._sum())
        token = self._next()
        if token[:1] != ":":
            raise self._syntax()
        operand = self._operand()
        self._must_be([operand], SETS | ({"N"} if section == "ADD" else set()), section)
        return Step(section, path, operand)

    def _sum(self) -> Node:
        left = self._operand()
        if self._next() not in {"+", "-"}:
            return left
        sign = self._take()
        operands = (left, self._operand())
        self._must_be(operands, {"N"}, sign)
        return Call(sign, operands)


def _is_reserved(word: str) -> bool:
    from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

    return word.upper() in ReservedKeywords.get_reserved_keywords()
