"""How applied configurations refine the stack's backends, and add others beside them. Pure.

The stack says what there is: queues, roles, log groups (``HUT_BACKENDS``). What is applied may choose
among that and set what needs no permission. A *refinement* is that choice as plain data; functions put
it upon what the stack says of the backend of that name, or else of the first one of its kind, so a
later deployment holds for all versions. What may be chosen is said by the rules of each kind
(`hut.backends.kinds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hut.backends.kinds import Entry, Options, Refinement, kind_of, rules_of
from hut.model.problems import InvalidInput, Problem

__all__ = ["Backend", "backends_of", "base_of", "frozen", "live", "options_of"]


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend of a control plane as its configuration has it now.

    Attributes
    ----------
    options : Options
        Where `problem` is set, those of the stack, under this name: enough to see to its jobs.
    kind : str
        Its type: ``batch``, for example.
    origin : str
        ``stack`` or ``configuration``.
    refinement : mapping
        What stands upon the stack's.
    refined : bool
        The configuration has an entry for it.
    retired : bool
        It is not configured any more, so no new run can use it.
    problem : str
        Why it can't run tasks now; empty if it can.
    """

    options: Options
    kind: str
    origin: str
    refinement: Refinement
    refined: bool = False
    retired: bool = False
    problem: str = ""


def base_of(name: str, kind: str, stack: Sequence[Entry]) -> Entry | None:
    """Return the stack's entry that a backend refines: its own, or the first of its kind, if any."""
    alike = [entry for entry in stack if kind_of(entry) == kind]
    return next((entry for entry in alike if entry["name"] == name), alike[0] if alike else None)


def live(refinement: Refinement) -> dict[str, Any]:
    """Return what of a refinement holds for all runs at once: caps and prices."""
    rules = rules_of(kind_of(refinement))
    return {key: refinement[key] for key in rules.LIVE if key in refinement}


def frozen(refinements: Sequence[Refinement]) -> dict[str, dict[str, Any]]:
    """Return what runs keep of refinements, by name: all but what is `live`."""
    return {
        each["name"]: {
            key: each[key] for key in ("type", *rules_of(kind_of(each)).FROZEN) if key in each
        }
        for each in refinements
        if not each.get("retired")
    }


def options_of(
    name: str, kind: str, refinement: Refinement, stack: Sequence[Entry], prefix: str
) -> Options:
    """Return the options of a backend: what the stack says, with a refinement upon it.

    Raises
    ------
    InvalidInput
        If the refinement is of another kind, or chooses what the stack does not have (any more).
    """
    base, place = base_of(name, kind, stack), f"backend {name!r}"
    if base is None:
        message = f"this deployment has no backend of type {kind} (any more)"
        raise InvalidInput([Problem(message, field=place)])
    if kind_of(refinement) != kind and refinement:
        message = f"is of type {kind}, but was of type {kind_of(refinement)} before"
        raise InvalidInput([Problem(message, field=place)])
    rules = rules_of(kind)
    chosen = {key: refinement[key] for key in (*rules.FROZEN, *rules.LIVE) if key in refinement}
    return rules.read_options({**base, **chosen, "name": name}, prefix=prefix, place=place)


def backends_of(
    refinements: Sequence[Refinement], stack: Sequence[Entry], prefix: str
) -> dict[str, Backend]:
    """Return all backends by name: the stack's own first, then those the configuration adds.

    A backend that is configured under the name of one of another kind, which the stack got later,
    keeps the name: its jobs go on. One whose kind the stack does not have any more is left out.
    """
    by_name = {each["name"]: each for each in refinements}
    kinds = {str(entry["name"]): kind_of(entry) for entry in stack}
    found: dict[str, Backend] = {}
    for name in (*kinds, *(name for name in by_name if name not in kinds)):
        refinement = by_name.get(name, {})
        retired = bool(refinement.get("retired"))
        kind = kinds[name] if name in kinds and (retired or not refinement) else kind_of(refinement)
        is_own = kinds.get(name) == kind
        if base_of(name, kind, stack) is None:
            continue
        chosen: Refinement = {} if is_own and retired else refinement
        problem = ""
        try:
            options = options_of(name, kind, chosen, stack, prefix)
        except InvalidInput as error:
            problem, chosen = str(error), {}
            options = options_of(name, kind, chosen, stack, prefix)
        found[name] = Backend(
            options,
            kind,
            "stack" if is_own else "configuration",
            chosen,
            refined=bool(refinement) and not retired,
            retired=retired and not is_own,
            problem=problem,
        )
    return found
