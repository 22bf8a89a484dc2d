"""What people do with the configuration of a control plane, and what submissions take from it.

A change is made from a version and becomes the next one; that is one conditional write, so nobody
undoes the change of another unseen. What dies before it has changed nothing, what dies after it has
changed all: a repeated call finds an equal content and makes no new version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hut.backends.advertising import advertised
from hut.backends.kinds import can_run
from hut.backends.refining import Backend, backends_of, base_of, frozen
from hut.model.applied import (
    EMPTY_CONTENT,
    Content,
    Difference,
    content_of,
    difference,
    digest_of,
    left_out,
    text_of,
)
from hut.model.configuration import Configuration
from hut.model.configuration_reading import configuration_of
from hut.model.documents import Document
from hut.model.environment import Environment
from hut.model.problems import InvalidInput, Problem, did_you_mean
from hut.scheduling.placing import offered, plain_sites
from hut.service.fitting import fit, why_not
from hut.store.configurations import ConfigurationStore, Current, Version, VersionConflict
from hut.submission import Applied, Setting

__all__ = [
    "By",
    "Change",
    "Configuring",
    "Listed",
    "NeededEntry",
    "Standing",
    "UnknownEntry",
    "UnknownVersion",
]

_TRIES = 5
_CONTENTS_KEPT = 8


class UnknownVersion(LookupError):  # noqa: N818 - named after what it says
    """There is no such version."""


class UnknownEntry(LookupError):  # noqa: N818
    """There is no backend or environment of this name."""


class NeededEntry(ValueError):  # noqa: N818
    """An entry can't be deleted; the message says why."""


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, when, and what they say about it."""

    owner: str
    now: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """A version with its content; no version where nothing was ever applied."""

    version: Version | None
    content: Content


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did, or would do.

    Attributes
    ----------
    after : Standing
        What counts after it.
    is_new : bool
        It made a version; without differences it makes none.
    """

    after: Standing
    is_new: bool
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A backend as people see it.

    Attributes
    ----------
    entry : mapping or None
        What the configuration says of it.
    backend : Backend or None
        None if tasks can't run on it.
    problem : str
        Why they can't.
    """

    name: str
    kind: str
    entry: Mapping[str, Any] | None
    backend: Backend | None
    is_default: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Configuring:
    """See the module's docstring.

    Parameters
    ----------
    store
        The port.
    stack
        The entries of ``HUT_BACKENDS``; not empty.
    prefix
        Of this deployment.
    """

    store: ConfigurationStore
    stack: Sequence[Mapping[str, Any]]
    prefix: str
    _contents: dict[int, Content] = field(default_factory=dict, init=False, repr=False)

    # Look -----------------------------------------------------------------------------------------

    def standing(self, number: int | None = None) -> Standing:
        """Return a version with its content, the current one if none is named.

        Raises
        ------
        UnknownVersion
            If there is no such version.
        """
        if number is None:
            return self._standing(self.store.current())
        version = self.store.version(number)
        if version is None:
            raise UnknownVersion(f"there is no version {number} of the configuration")
        return Standing(version, self._content(number))

    def backends(self) -> list[Listed]:
        """Return all backends: the stack's own, those that are configured, those that are only kept."""
        current = self.store.current()
        content = self._standing(current).content
        default = self._default(content, current)
        entries = {entry["name"]: entry for entry in content["backends"]}
        there = self._backends(current)
        found = [
            Listed(name, each.kind, entries.get(name), each, name == default, each.problem)
            for name, each in there.items()
            if not each.retired
        ]
        kept = [
            Listed(name, entry["type"], entry, None, problem=self._why_kept(entry))
            for name, entry in entries.items()
            if name not in there or there[name].retired
        ]
        return [*found, *kept]

    def setting(self) -> Setting:
        """Return what surrounds a submission now."""
        current = self.store.current()
        content = self._standing(current).content
        there = {name: b for name, b in self._backends(current).items() if not b.retired}
        default = self._default(content, current)
        entries = {entry["name"]: entry for entry in content["backends"]}
        able = [name for name, backend in there.items() if not backend.problem]
        elsewhere = {
            entry["name"]: f"can't be used: {self._why_kept(entry)}"
            for entry in content["backends"]
            if entry["name"] not in there
        }
        elsewhere |= {name: f"can't be used: {b.problem}" for name, b in there.items() if b.problem}
        environments = {
            entry["name"]: Environment(
                entry["name"], entry.get("variables", {}), entry.get("extra_init", "")
            )
            for entry in content["environments"]
        }
        return Setting(
            backends=(default, *(name for name in able if name != default)),
            elsewhere=elsewhere,
            applied=Applied(current.number, environments, frozen(current.backends)),
            sites=plain_sites(
                content.get("schedulers", ()),
                [
                    _site(there[name], entries.get(name, {"name": name}))
                    for name in (default, *(name for name in able if name != default))
                ],
            ),
        )

    # Change ---------------------------------------------------------------------------------------

    def apply(
        self,
        configuration: Configuration,
        by: By,
        *,
        expected: int | None = None,
        dry_run: bool = False,
    ) -> Change:
        """Make a configuration the current one.

        Parameters
        ----------
        expected
            Number of the version it was made from, 0 for none; None replaces whatever there is.
        dry_run
            Only say what would be done.

        Raises
        ------
        InvalidInput
            With every problem.
        VersionConflict
            If another version is current, and not equal to this.
        """
        content, notes = content_of(configuration), left_out(configuration)

        def whole(_before: Content) -> Content:
            return content

        change = self._change(whole, by, expected=expected, dry_run=dry_run)
        return replace(change, notes=[*notes, *change.notes])

    def put(
        self, section: str, name: str, fields: Content, by: By, *, expected: int | None = None
    ) -> Change:
        """Put one entry into a section, in place of one of the same name.

        Raises
        ------
        InvalidInput, VersionConflict
            As `apply`; places are those of the entry.
        """
        try:
            given = configuration_of(Document({section: [{**fields, "name": name}]}), whole=False)
            notes = left_out(given)
            entries = content_of(given)[section]
            if not entries:
                raise InvalidInput([Problem(notes[0].partition(": ")[2], field="type")])
            (entry,) = entries

            def with_entry(before: Content) -> Content:
                others = [each for each in before[section] if each["name"] != name]
                return {**before, section: sorted([*others, entry], key=_name)}

            return self._change(with_entry, by, expected=expected)
        except InvalidInput as error:
            raise InvalidInput(_inside(error.problems, section, name)) from None

    def delete(self, section: str, name: str, by: By, *, expected: int | None = None) -> Change:
        """Take one entry out of a section. Runs that use it keep what they were submitted with.

        Raises
        ------
        UnknownEntry
            If there is none.
        NeededEntry
            If it must stay.
        VersionConflict
            As `apply`.
        """

        def without(before: Content) -> Content:
            others = [each for each in before[section] if each["name"] != name]
            own = [str(entry["name"]) for entry in self.stack]
            if len(others) == len(before[section]):
                if section == "backends" and name in own:
                    message = f"backend {name!r} is the deployment's own; it can't be deleted"
                    raise NeededEntry(message)
                known = [each["name"] for each in others]
                hint = did_you_mean(name, known) or "none is configured"
                raise UnknownEntry(f"there is no {section[:-1]} {name!r}; {hint}")
            is_default = before["settings"].get("default_backend") == name and name not in own
            if section == "backends" and is_default:
                raise NeededEntry(
                    f"backend {name!r} is the default (settings.default_backend); choose another one "
                    "first"
                )
            return {**before, section: others}

        return self._change(without, by, expected=expected)

    # Parts ----------------------------------------------------------------------------------------

    def _change(
        self,
        make: Callable[[Content], Content],
        by: By,
        *,
        expected: int | None,
        dry_run: bool = False,
    ) -> Change:
        """Make a version of what `make` returns for the current content."""
        for last in (*[False] * (_TRIES - 1), True):
            current = self.store.current()
            before = self._standing(current)
            content = make(before.content)
            fitted = fit(content, self.stack, current.backends)
            if fitted.problems:
                raise InvalidInput(fitted.problems)
            differences = difference(before.content, content)
            if not differences:
                return Change(before, is_new=False, notes=fitted.notes)
            if expected not in (None, current.number):
                raise VersionConflict(expected or 0, current.version)
            number = current.number + 1
            version = Version(number, by.now, by.owner, by.message, digest_of(content))
            change = Change(Standing(version, content), not dry_run, differences, fitted.notes)
            if dry_run:
                return change
            try:
                # Only if the version that was read is still the current one.
                self.store.add(version, text_of(content), fitted.refinements)
            except VersionConflict:
                # The next turn tells who was first, or makes the change from what they made.
                if last:
                    raise
                continue
            return change
        raise AssertionError("the last turn returns or raises")

    def _standing(self, current: Current) -> Standing:
        if current.version is None:
            return Standing(None, dict(EMPTY_CONTENT))
        return Standing(current.version, self._content(current.number))

    def _content(self, number: int) -> Content:
        """Return the content of a version; versions don't change, so it is kept."""
        if number not in self._contents:
            text = self.store.content(number)
            if text is None:
                raise UnknownVersion(f"version {number} of the configuration has no content")
            while len(self._contents) >= _CONTENTS_KEPT:
                del self._contents[next(iter(self._contents))]
            self._contents[number] = json.loads(text)
        return self._contents[number]

    def _backends(self, current: Current) -> Mapping[str, Backend]:
        return backends_of(current.backends, self.stack, self.prefix)

    def _why_kept(self, entry: Mapping[str, Any]) -> str:
        """Say why tasks can't run on a backend that is configured, but not made into one."""
        if can_run(entry) and base_of(entry["name"], entry["type"], self.stack) is not None:
            return (
                f"it was applied before this deployment had a backend of type {entry['type']}; apply "
                "the configuration again"
            )
        return why_not(entry["type"])

    def _default(self, content: Content, current: Current) -> str:
        """Return the backend of runs that name none: the stack's, if the chosen one can't be used."""
        name = content["settings"].get("default_backend")
        chosen = self._backends(current).get(name)
        usable = chosen is not None and not (chosen.problem or chosen.retired)
        return str(name if usable else self.stack[0]["name"])


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"])


def _site(backend: Backend, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a backend as schedulers see it."""
    return {
        "name": backend.options.name,
        "type": backend.kind,
        "scheduler": entry.get("scheduler"),
        "targets": offered(entry, advertised(backend.kind, backend.options)),
    }


def _inside(problems: Sequence[Problem], section: str, name: str) -> list[Problem]:
    """Return problems with their places inside of the only entry they can be at."""
    found = []
    for problem in problems:
        place = problem.field or ""
        for head in (f"{section}[0]", f"{section}.{name}"):
            place = place.removeprefix(head)
        found.append(replace(problem, field=place.lstrip(".") or None))
    return found
