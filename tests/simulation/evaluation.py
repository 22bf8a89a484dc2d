"""What DynamoDB's expressions do to an item: conditions hold or not, updates give another item.

Items are never changed in place: whoever has the old one keeps it as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Inexact, Overflow, Rounded
from functools import lru_cache
from itertools import pairwise
from typing import Any

from tests.simulation.attribute_values import (
    NUMBERS,
    ORDERED,
    SETS,
    Item,
    comparable,
    equal,
    from_number,
    invalid,
    to_number,
    wrong,
)
from tests.simulation.expressions import Call, Constant, Node, Parsed, Path, parts_of

__all__ = ["changed", "condition_of", "pick", "projected", "written_by"]

Names = Mapping[str, str]
Values = Mapping[str, Any]
Parts = tuple[str | int, ...]
Test = Callable[[Item, Names, Values], bool]
Read = Callable[[Item, Names, Values], Any]

_MISSING = "The provided expression refers to an attribute that does not exist in the item"
_WRONG_TYPE = "An operand in the update expression has an incorrect data type"
_NO_PATH = "The document path provided in the update expression is invalid for update"


# Conditions ---------------------------------------------------------------------------------------


@lru_cache(4096)
def condition_of(parsed: Parsed) -> Test:
    """Return the function that says whether a condition holds for an item."""
    return _test(parsed.tree)


def _test(node: Node) -> Test:
    assert isinstance(node, Call), "a condition is a call"
    name, operands = node
    if name in {"AND", "OR"}:
        one, other = _test(operands[0]), _test(operands[1])
        if name == "AND":
            return lambda *at: one(*at) and other(*at)
        return lambda *at: one(*at) or other(*at)
    if name == "NOT":
        inner = _test(operands[0])
        return lambda *at: not inner(*at)
    reads = [_read(operand) for operand in operands]
    if name == "attribute_exists":
        return lambda *at: reads[0](*at) is not None
    if name == "attribute_not_exists":
        return lambda *at: reads[0](*at) is None
    holds = _RELATIONS[name]
    if len(reads) == 2:
        left, right = reads
        return lambda *at: holds(left(*at), right(*at))
    return lambda *at: holds(*[read(*at) for read in reads])


def _read(node: Node) -> Read:
    if isinstance(node, Constant):
        constant = node.name
        return lambda *at: at[2][constant]
    if isinstance(node, Path):
        if len(node.parts) == 1:
            (name,) = node.parts
            if str(name)[0] == "#":
                return lambda *at: at[0].get(at[1][name])
            return lambda *at: at[0].get(name)
        return lambda *at: pick(at[0], parts_of(node, at[1]))
    assert node.name == "size", "no other function is an operand of a condition"
    inner = _read(node.operands[0])
    return lambda *at: _size(inner(*at))


def pick(item: Item, parts: Parts) -> Any:
    """Return what is at the end of a path; None if nothing is."""
    found = item.get(str(parts[0]))
    for part in parts[1:]:
        if found is None:
            return None
        if isinstance(part, int):
            entries = found.get("L", ())
            found = entries[part] if part < len(entries) else None
        else:
            found = found.get("M", {}).get(part)
    return found


def _size(value: Any) -> Any:
    if value is None:
        return None
    ((kind, content),) = value.items()
    if kind == "S":
        return {"N": str(len(content.encode()))}
    return {"N": str(len(content))} if kind not in {"N", "BOOL", "NULL"} else None


def _in_order(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(one: Any, other: Any) -> bool:
        if one is None or other is None or one.keys() != other.keys():
            return False
        if not one.keys() <= ORDERED:
            return False
        return holds(comparable(one), comparable(other))

    return compare


def _between(value: Any, low: Any, high: Any) -> bool:
    return _RELATIONS[">="](value, low) and _RELATIONS["<="](value, high)


def _begins_with(value: Any, prefix: Any) -> bool:
    if value is None or prefix is None or value.keys() != prefix.keys():
        return False
    ((kind, content),) = value.items()
    return kind in {"S", "B"} and content.startswith(prefix[kind])


def _contains(value: Any, part: Any) -> bool:
    if value is None or part is None:
        return False
    ((kind, content),) = value.items()
    if kind == "L":
        return any(equal(entry, part) for entry in content)
    ((part_kind, wanted),) = part.items()
    if kind in SETS:
        return kind[0] == part_kind and wanted in content
    return kind in {"S", "B"} and kind == part_kind and wanted in content


_RELATIONS: dict[str, Callable[..., bool]] = {
    "=": equal,
    "<>": lambda one, other: not equal(one, other),  # what is missing differs from everything
    "<": _in_order(lambda one, other: one < other),
    "<=": _in_order(lambda one, other: one <= other),
    ">": _in_order(lambda one, other: one > other),
    ">=": _in_order(lambda one, other: one >= other),
    "BETWEEN": _between,
    "IN": lambda value, *among: any(equal(value, each) for each in among),
    "begins_with": _begins_with,
    "contains": _contains,
    "attribute_type": lambda value, kind: value is not None and kind["S"] in value,
}


# Updates ------------------------------------------------------------------------------------------


def written_by(parsed: Parsed, names: Names, keys: Sequence[str]) -> list[Parts]:
    """Return the paths that an update writes.

    Raises
    ------
    ClientError
        If one is part of the primary key `keys`, or of another.
    """
    paths = [parts_of(step.path, names) for step in parsed.tree]
    for path in paths:
        if path[0] in keys:
            message = f"Cannot update attribute {path[0]}. This attribute is part of the key"
            raise wrong(message)
    if len(paths) > 1 and len({path[0] for path in paths}) < len(paths):
        _refuse_both(paths)
    return paths


def changed(
    parsed: Parsed, item: Item, names: Names, values: Values, paths: Sequence[Parts]
) -> Item:
    """Return the item that an update makes of another; all operands are read before.

    Raises
    ------
    ClientError
        If the update does not fit the item.
    """
    written = [
        (path, _outcome(step.section, step.operand, path, item, names, values))
        for step, path in zip(parsed.tree, paths, strict=True)
    ]
    new = dict(item)
    # Elements of a list that go away do so last and from the end, so that all numbers are the old ones.
    set_here = sorted((entry for entry in written if entry[1] is not None), key=_by_element)
    removed = sorted((entry for entry in written if entry[1] is None), key=_by_element)
    for path, value in [*set_here, *reversed(removed)]:
        if len(path) == 1:
            if value is None:
                new.pop(str(path[0]), None)
            else:
                new[str(path[0])] = value
        else:
            new[str(path[0])] = _within(new.get(str(path[0])), path[1:], value)
    return new


def _by_element(entry: tuple[Parts, Any]) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in entry[0]]


def _refuse_both(paths: Sequence[Parts]) -> None:
    ordered = sorted(paths, key=lambda path: [str(part) for part in path])
    for number, one in enumerate(ordered):
        for other in ordered[number + 1 :]:
            pairs = enumerate(zip(one, other, strict=False))
            same = next((number for number, (left, right) in pairs if left != right), None)
            if same is None:
                what = "overlap"
            elif isinstance(one[same], int) != isinstance(other[same], int):
                what = "conflict"
            else:
                continue
            raise invalid(
                f"Invalid UpdateExpression: Two document paths {what} with each other; must remove "
                f"or rewrite one of these paths; path one: {list(one)}, path two: {list(other)}"
            )


def _outcome(
    section: str, operand: Node | None, path: Parts, item: Item, names: Names, values: Values
) -> Any:
    """Return the value an action gives an attribute; None: there is none any more."""
    if section == "REMOVE":
        return None
    assert operand is not None, "only REMOVE has no operand"
    if section == "SET":
        found = _term(operand, item, names, values)
        if found is None:
            raise invalid(_MISSING)
        return found
    old, given = pick(item, path), values[operand[0]]
    ((kind, content),) = given.items()
    if old is not None and kind not in old:
        raise invalid(_WRONG_TYPE)
    if section == "DELETE":
        gone = set(content)
        left = [entry for entry in old[kind] if entry not in gone] if old else []
        return {kind: left} if left else None
    if kind == "N":
        return _add(old or {"N": "0"}, given, 1)
    return {kind: list(dict.fromkeys([*old[kind], *content]))} if old else given


def _term(node: Node, item: Item, names: Names, values: Values) -> Any:
    if isinstance(node, Constant):
        return values[node.name]
    if isinstance(node, Path):
        return pick(item, parts_of(node, names))
    if node.name == "if_not_exists":
        found = _term(node.operands[0], item, names, values)
        return _term(node.operands[1], item, names, values) if found is None else found
    one, other = (_term(operand, item, names, values) for operand in node.operands)
    if one is None or other is None:
        raise invalid(_MISSING)
    if node.name == "list_append":
        if "L" not in one or "L" not in other:
            raise invalid(_WRONG_TYPE)
        return {"L": [*one["L"], *other["L"]]}
    if "N" not in one or "N" not in other:
        raise invalid(_WRONG_TYPE)
    return _add(one, other, 1 if node.name == "+" else -1)


def _add(one: Any, other: Any, sign: int) -> Any:
    left, right = to_number(one["N"]), to_number(other["N"])
    if isinstance(left, int) and isinstance(right, int):
        return {"N": from_number(left + sign * right)}
    try:
        return {"N": from_number(NUMBERS.add(left, NUMBERS.multiply(sign, right)))}
    except (Inexact, Rounded, Overflow):
        message = "Number overflow. Attempting to store a number with magnitude larger than"
        raise invalid(f"{message} supported range") from None


def _within(old: Any, path: Parts, value: Any) -> Any:
    """Return a document with something else at the end of a path; None takes it away."""
    part, rest = path[0], path[1:]
    if old is None or ("L" if isinstance(part, int) else "M") not in old:
        raise invalid(_NO_PATH)
    if isinstance(part, int):
        entries = list(old["L"])
        if rest:
            if part >= len(entries):
                raise invalid(_NO_PATH)
            entries[part] = _within(entries[part], rest, value)
        elif value is None:
            del entries[part : part + 1]
        elif part < len(entries):
            entries[part] = value
        else:
            entries.append(value)
        return {"L": entries}
    fields = dict(old["M"])
    if rest:
        fields[part] = _within(fields.get(part), rest, value)
    elif value is None:
        fields.pop(part, None)
    else:
        fields[part] = value
    return {"M": fields}


# Projections --------------------------------------------------------------------------------------


def projected(item: Item, paths: Sequence[Parts]) -> Item:
    """Return of an item only what stands at the paths."""
    found: Item = {}
    for path in paths:
        value = pick(item, path)
        if value is None:
            continue
        inner: Any = found
        for part, after in pairwise(path):
            inner = _inside(inner, part, {"L": {}} if isinstance(after, int) else {"M": {}})
        inner[path[-1]] = value
    return {name: _closed(value) for name, value in found.items()}


def _inside(holder: Any, part: str | int, empty: Any) -> Any:
    ((_, content),) = holder.setdefault(part, empty).items()
    return content


def _closed(value: Any) -> Any:
    """Make lists of the elements that were picked, in their order."""
    ((kind, content),) = value.items()
    if kind == "L" and isinstance(content, dict):
        return {"L": [_closed(content[number]) for number in sorted(content)]}
    if kind == "M":
        return {"M": {name: _closed(entry) for name, entry in content.items()}}
    return value
