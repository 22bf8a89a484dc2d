"""JSONata as Step Functions has it: ``{% ... %}`` in strings, undefined is an error, some functions more.

Expressions are parsed once. Beside JSONata's own functions there are those of "Transforming data with
JSONata in Step Functions" that a machine of Hut might use; time is what the caller says it is.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import new as new_hash
from typing import Any, NamedTuple

from jsonata import Jsonata
from jsonata.utils import Utils

__all__ = ["Moment", "QueryError", "Template", "compiled", "is_expression"]

Variables = Mapping[str, Any]
_NOTHING = object()
_PATH = re.compile(r"\$[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")


class Moment(NamedTuple):
    """When an expression is evaluated: seconds since the epoch, and what `$random` returns then."""

    now: float
    random: float = 0.5


Template = Callable[[Variables, Moment], Any]
"""Returns a value for some variables, ``states`` among them."""


class QueryError(Exception):
    """An expression can't be evaluated, or has no value: ``States.QueryEvaluationError``."""


def is_expression(value: object) -> bool:
    """Say whether a value is an expression as a whole, which is the only way to be one."""
    return isinstance(value, str) and value.startswith("{%") and value.endswith("%}")


def compiled(template: Any) -> Template:
    """Return what fills in a template: expressions at any depth, everything else as it is."""
    if is_expression(template):
        return _expression(template)
    if isinstance(template, dict):
        if not _has_expressions(template):
            return lambda *_: copy.deepcopy(template)
        parts = [(key, compiled(value)) for key, value in template.items()]
        return lambda variables, moment: {key: part(variables, moment) for key, part in parts}
    if isinstance(template, list):
        items = [compiled(value) for value in template]
        return lambda variables, moment: [item(variables, moment) for item in items]
    return lambda *_: template


def _has_expressions(template: Any) -> bool:
    if isinstance(template, dict):
        return any(map(_has_expressions, template.values()))
    if isinstance(template, list):
        return any(map(_has_expressions, template))
    return is_expression(template)


@cache
def _expression(text: str) -> Template:
    source = text[2:-2].strip()
    if _PATH.fullmatch(source):
        name, *fields = source[1:].split(".")
        whole = _parsed(text, source)
        return lambda variables, moment: _at(variables, name, fields, whole, moment)
    return _parsed(text, source)


def _at(variables: Variables, name: str, fields: list[str], whole: Template, moment: Moment) -> Any:
    """Return what is at a path if nothing but objects is on the way; else as JSONata says."""
    found = variables.get(name, _NOTHING)
    for field in fields:
        found = found.get(field, _NOTHING) if type(found) is dict else _NOTHING
    if found is _NOTHING or isinstance(found, list):
        return whole(variables, moment)
    return found


def _parsed(text: str, source: str) -> Template:
    parsed = Jsonata(source)
    base = parsed.environment
    used = frozenset(_VARIABLE.findall(source)) - _FUNCTIONS.keys()

    def evaluate(variables: Variables, moment: Moment) -> Any:
        frame = Jsonata.Frame(base)
        bound = frame.bindings
        bound.update(_FUNCTIONS)
        for name in used:
            if name in variables:
                value = variables[name]
                bound[name] = Utils.NULL_VALUE if value is None else value
        bound["millis"] = Jsonata.JLambda(lambda: int(moment.now * 1000))
        bound["random"] = Jsonata.JLambda(lambda: moment.random)
        try:
            found = parsed.eval(parsed.ast, None, frame)
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the library makes of a bad expression
            raise QueryError(f"The JSONata expression '{text}' failed: {error}") from None
        if found is None:
            raise QueryError(f"The JSONata expression '{text}' returned nothing (undefined).")
        return _as_json(found, text)

    return evaluate


def _as_json(value: Any, text: str) -> Any:
    """Return a value of JSONata as JSON has it: one kind of number, no sequences, no functions."""
    if value is Utils.NULL_VALUE:
        return None
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: _as_json(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each, text) for each in value]
    raise QueryError(f"The JSONata expression '{text}' returned a function.")


def _parse(text: Any = None) -> Any:
    return None if text is None else json.loads(text)


def _hash(text: Any, algorithm: str = "SHA-256") -> str:
    return new_hash(algorithm.replace("-", "").lower(), text.encode()).hexdigest()


_FUNCTIONS = {
    "parse": Jsonata.JLambda(_parse),
    "hash": Jsonata.JLambda(_hash),
    # Called for each part of an expression; found here, they are not looked for further out.
    **dict.fromkeys(("__evaluate_entry", "__evaluate_exit"), None),
    # Not there: `$eval` is refused, and what differs from call to call has no place in a history.
    **dict.fromkeys(("eval", "now", "uuid"), None),
}
