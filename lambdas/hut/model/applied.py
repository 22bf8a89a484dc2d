"""What of a ``hut.yaml`` a control plane keeps, what it leaves out, and how two versions differ.

What is kept is a *content*: plain data with the sections ``backends``, ``environments``,
``settings`` and, where there are any, ``schedulers``, as their author wrote them. Schedulers stay in
the order of the file, the first is the default; the entries of other sections are in the order of their
names. Equal configurations have equal contents, whatever the order in the file. Whether a deployment
can follow one is not decided here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hut.model.configuration import Configuration, Settings, plain

__all__ = [
    "EMPTY_CONTENT",
    "Content",
    "Difference",
    "content_of",
    "difference",
    "digest_of",
    "is_entry_name",
    "left_out",
    "looks_secret",
    "secrets_in",
    "text_of",
]

Content = dict[str, Any]

EMPTY_CONTENT: Mapping[str, Any] = {"backends": [], "environments": [], "settings": {}}
"""What counts where nothing was ever applied."""

_NAMED = ("backends", "environments", "schedulers")
_KEPT_TYPES = ("batch", "ec2", "workers")
_ENTRY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_SECRET = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE"
    r"|(^|_)(PWD|TOKEN|SECRETS?|SECRET_?KEY|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)(_|$)",
    re.IGNORECASE,
)
_NOT_SECRET = frozenset({"PWD", "OLDPWD"})  # the shell's folders


def is_entry_name(name: str) -> bool:
    """Say whether a backend or an environment of a control plane can have this name."""
    return _ENTRY_NAME.fullmatch(name) is not None


def content_of(configuration: Configuration) -> Content:
    """Return what a control plane keeps of a configuration."""
    kept = [plain(entry) for entry in configuration.backends if entry.type in _KEPT_TYPES]
    settings = plain(configuration.settings)
    content: Content = {
        "backends": sorted(kept, key=_name),
        "environments": sorted(map(plain, configuration.environments), key=_name),
        "settings": {
            name: value for name, value in settings.items() if name not in Settings.UNUSED_REMOTELY
        },
    }
    if configuration.schedulers:
        content["schedulers"] = [plain(entry) for entry in configuration.schedulers]
    return content


def left_out(configuration: Configuration) -> list[str]:
    """Return, in sentences, what a control plane does not use of a configuration."""
    notes = [
        f"backend {entry.name!r} ({entry.type}) is left out: "
        + (
            "it is the machine hutctl runs on"
            if entry.type == "local"
            else f"a control plane can't run tasks on {entry.type}"
        )
        for entry in configuration.backends
        if entry.type not in _KEPT_TYPES
    ]
    notes += [
        f"section {section} is left out: the control plane does not use it yet"
        for section in ("sources", "workflows", "pricing")
        if getattr(configuration, section)
    ]
    given = configuration.settings.model_fields_set
    notes += [
        f"settings.{name} is left out: {why}"
        for name, why in Settings.UNUSED_REMOTELY.items()
        if name in given
    ]
    return notes


def looks_secret(variable: str) -> bool:
    """Say whether the name of a variable promises a secret."""
    return variable not in _NOT_SECRET and _SECRET.search(variable) is not None


def secrets_in(content: Mapping[str, Any]) -> list[str]:
    """Return a warning for each variable of an environment that seems to hold a secret."""
    return [
        f"environments.{entry['name']}.variables.{name} looks like a secret: who may call the API "
        "can read what is applied, in every version. Keep it in Secrets Manager or SSM and name it "
        "under 'secrets' of a backend"
        for entry in content["environments"]
        for name, value in entry.get("variables", {}).items()
        if value and looks_secret(name)
    ]


def text_of(content: Mapping[str, Any]) -> str:
    """Return a content as JSON: the same text for equal contents."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest_of(content: Mapping[str, Any]) -> str:
    """Return what tells two contents apart."""
    return hashlib.sha256(text_of(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs between two contents.

    Attributes
    ----------
    path : str
        Dotted, with the names of entries: ``backends.gpu.max_concurrent``.
    old, new : object
        None where it is not there.
    """

    path: str
    old: object
    new: object

    @property
    def change(self) -> str:
        """What happened: ``added``, ``removed`` or ``changed``."""
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"

    def document(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"change": self.change, "path": self.path, "old": self.old, "new": self.new}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return what differs between two contents.

    An entry that is only in one of them is one difference; one that is in both, a difference for each
    of its fields.
    """
    found: list[Difference] = []
    for section in _NAMED:
        before = {entry["name"]: entry for entry in old.get(section, ())}
        after = {entry["name"]: entry for entry in new.get(section, ())}
        for name in sorted(before.keys() | after.keys()):
            found += _between(f"{section}.{name}", before.get(name), after.get(name))
    found += _between("settings", old["settings"], new["settings"])
    first_before, first_after = _first_scheduler(old), _first_scheduler(new)
    if first_before and first_after and first_before != first_after:
        found.append(Difference("schedulers", first_before, first_after))
    return found


def _first_scheduler(content: Mapping[str, Any]) -> str | None:
    """Return the scheduler of backends that name none."""
    return next((_name(entry) for entry in content.get("schedulers", ())), None)


def _between(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _between(f"{path}.{name}", old.get(name), new.get(name))
    elif old != new:
        yield Difference(path, old, new)


def _name(entry: Mapping[str, Any]) -> str:
    name: str = entry["name"]
    return name
