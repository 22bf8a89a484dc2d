"""The program of a bundle: plain ``sh`` that runs tasks one after the other, some at a time. Pure text.

As many loops as there are slots go through the list of all tasks. Who makes the file that is named after
a task's number runs it: with ``set -C`` only one can. A task is started by the launcher of single jobs, so
process groups, signals, time limits, files and exit codes are as there. What it prints goes to a
file, and into the log as a block when it has ended: one at a time, whoever holds the file ``lock``. In a block
nothing looks like a line of the bundle itself (see `hut.backends.bundle_markers`).

A TERM is handed on to all that run; no other task begins, and what was stopped by it has no end. If the program
itself is killed, what is in the log stands.

It needs ``mkdir``, ``rm`` and ``date``; ``sed`` and ``sleep`` it can do without.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hut.backends.launcher import (
    FIRST,
    FROM_ARGUMENT,
    SAYING,
    StoredScript,
    fetch_bundle,
    gather,
    head_of,
    is_plain,
    launcher_body,
    working_dir_of,
)
from hut.backends.port import BundleRequest, JobRequest
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts

__all__ = [
    "LONGEST_COMMAND",
    "BundleParts",
    "Member",
    "common_ends",
    "gathering",
    "may_share",
    "members_of",
    "parts_of",
    "stored_program",
]

LONGEST_COMMAND = 64 * 1024
"""Characters of a command in a bundle: Linux starts nothing with an argument of 128 KiB."""


def may_share(spec: TaskSpec) -> bool:
    """Say whether a task may share a job with others.

    What a generator or a task program wrote is read from its own job's log; a task with a bound on its wait must be cancelled
    alone.
    """
    return (
        spec.generates_source is None
        and spec.call is None
        and spec.max_queue_time is None
        and len(spec.command) <= LONGEST_COMMAND
        and "\n" not in head_of(spec)
    )


@dataclass(frozen=True, slots=True)
class Member:
    """What makes one of several tasks of a shape another task than the others.

    Attributes
    ----------
    head : str
        Assignments of its launcher.
    exports : str
        Its own variables, as ``export`` takes them; may be empty.
    script : str
        Without what tells whose it is.
    """

    head: str
    exports: str
    script: str


class BundleParts(NamedTuple):
    """The program of a bundle, as ``sh`` takes it: a text and what is said behind it.

    Attributes
    ----------
    text : str
    arguments : list of str
        The launcher, and what all scripts begin and end with.
    """

    text: str
    arguments: list[str]


def members_of(
    run: RunRecord,
    requests: Sequence[JobRequest],
    variables: Sequence[Mapping[str, str]],
) -> tuple[dict[str, str], list[Member]]:
    """Return the variables all tasks have in common, and what is each one's own.

    Parameters
    ----------
    variables
        Of each attempt.
    """
    scripts = Scripts(run, "sh", exports=False)
    common = dict(variables[0])
    for other in variables[1:]:
        differ = [name for name, text in common.items() if other[name] != text]
        for name in differ:
            del common[name]
    members = []
    for request, found in zip(requests, variables, strict=True):
        spec, attempt = request.claim.spec, request.claim.key.attempt
        own = {name: text for name, text in found.items() if name not in common}
        exports = " ".join(f"{name}={shlex.quote(text)}" for name, text in own.items())
        script = scripts.body(ScriptRequest(spec, attempt, working_dir_of(spec)))
        members.append(Member(head_of(spec), exports, script))
    return common, members


def common_ends(texts: Sequence[str]) -> tuple[str, str]:
    """Return the longest text all begin with, and the longest all end with behind it."""
    least, most = min(texts), max(texts)
    start = _shared(least, most)
    turned = [text[: start - 1 if start else None : -1] for text in texts]
    end = _shared(min(turned), max(turned))
    return least[:start], least[len(least) - end :] if end else ""


def _shared(one: str, other: str) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


def parts_of(
    bundle: BundleRequest, members: Sequence[Member], *, empty: Sequence[str], handle: str
) -> BundleParts:
    """Return the program that runs the tasks of a bundle, in their order.

    Parameters
    ----------
    empty
        Names of variables without a value.
    handle
        The job's handle, as the shell finds it out.
    """
    first = bundle.requests[0]
    prefix, suffix = common_ends([member.script for member in members])
    heads = {member.head for member in members}
    head = heads.pop() if len(heads) == 1 else ""
    body = launcher_body(first.claim.spec, empty=empty, run=FROM_ARGUMENT, bundled=True)
    launcher = f'_k=$1 _s=$2 {head}\neval "$3"\n{body}'
    tasks = "".join(
        " ".join(
            [
                f"t {number}",
                shlex.quote(member.exports),
                shlex.quote(member.script[len(prefix) : len(member.script) - len(suffix)]),
                *([] if head else [shlex.quote(member.head)]),
            ]
        )
        + "\n"
        for number, member in enumerate(members)
    )
    # Of one slot nobody else writes to the log.
    locks = _LOCKS if bundle.slots > 1 else _NO_LOCKS
    start = "told $_i $_k" if first.starts else "note $_k"
    shell = _SH if is_plain(first.run) else _BASH
    text = (
        f"{FIRST}_m=::hut:{bundle.nonce}:\n"
        f'_i="{bundle.name} {handle}"\n'
        f"_l=$1 _y=$2 _z=$3\n"
        f"{SAYING}{shell}{_BEGIN}{locks}"
        f'start() {{ say "{start} start $1 $_a"; }}\n'
        f"{_TASK}w() {{\n{_LOOP}{tasks}}}\n"
        f"{_MAIN.replace('@SLOTS', str(bundle.slots))}"
    )
    return BundleParts(text, [launcher, prefix, suffix])


def stored_program(
    nonce: str, parts: BundleParts, stored: StoredScript | None = None
) -> tuple[str, bytes]:
    """Return the text that brings a bundle's program from S3 and runs it, and the program.

    Parameters
    ----------
    stored
        Where it will be.
    """
    words = " ".join(map(shlex.quote, parts.arguments))
    program = f'#hut {nonce}\nrm -f -- "$0"\nset -- {words}\n{parts.text}'.encode()
    fetch = gather() if stored is None else fetch_bundle(stored, nonce)
    return f"{FIRST}_m=::hut:{nonce}:\n{SAYING}{fetch}{_RUN_FILE}", program


def gathering(nonce: str, parts: BundleParts) -> tuple[str, str]:
    """Return the text that runs a bundle's program which comes as arguments, and the program."""
    text, program = stored_program(nonce, parts)
    return text, program.decode()


_RUN_FILE = 'exec /bin/sh "$_f"\n'

_BASH = """\
_s=bash
BASH_ENV= bash -c : 2>/dev/null || _s=/bin/sh
"""
_SH = "_s=/bin/sh\n"

_BEGIN = """\
_b=${TMPDIR:-/tmp}/hut-${_m#::hut:}
_b=${_b%:}
(umask 077; mkdir -- "$_b") || no "the folder $_b can't be made"
now() { read -r _u _ </proc/uptime || _u=$(date +%s); } 2>/dev/null
now
_k="$(date +%s)@$_u"
if has sed; then out() { LC_ALL=C sed "s/$_m/::hut-/g" "$1"; }
else out() { while IFS= read -r _x || [ -n "$_x" ]; do
case $_x in *"$_m"*) _x='hut: a line was left out' ;; esac
printf '%s\\n' "$_x"; done <"$1"; }; fi
"""

_NO_LOCKS = "lock() { :; }\nunlock() { :; }\n"

# Whoever holds it for a minute is dead.
_LOCKS = """\
lock() { _r=0
until true 2>/dev/null >"$_b/lock"; do
sleep 0.1 2>/dev/null || sleep 1
_r=$((_r+1)); [ $_r -lt 600 ] || break
done; }
unlock() { rm -f -- "$_b/lock"; }
"""

# A trapped signal ends wait early. A second wait for what has ended may answer 127.
_TASK = """\
t() {
[ -z "$_T" ] && true 2>/dev/null >"$_b/$1" || return 0
now
_a=$_u _c=
start "$1"
(trap - TERM INT HUP
[ -z "$2" ] || eval "export $2"
exec /bin/sh -c "$_l" "$_y$3$_z" "$_b/$1.k" "$_s" "${4-}") >"$_b/$1.o" 2>&1 </dev/null &
_p=$!
[ -z "$_T" ] || kill -TERM "$_p" 2>/dev/null
while :; do
_g=
wait "$_p" 2>/dev/null
_n=$?
[ "$_n" = 127 ] && [ -n "$_c" ] || _c=$_n
[ -n "$_g" ] || break
done
_q=$_T _p= _h=
now
[ -e "$_b/$1.o" ] || _h="not-started the file for its output can't be written"
[ ! -s "$_b/$1.k" ] || read -r _h <"$_b/$1.k"
lock
say "block $1"
[ ! -s "$_b/$1.o" ] || out "$_b/$1.o"
if [ -n "$_q" ]; then
say "cut $1"
_h="start $1 $_a"
else
_h="end $1 $_c $_a $_u${_h:+ $_h}"
say "told $_i $_k $_h"
fi
printf '%s\\n' "${_m}again $_k $_h" >>"$_b/ends"
unlock
rm -f -- "$_b/$1.o" "$_b/$1.k"
}
"""

_LOOP = """\
set -C
_T= _p=
trap '_T=1 _g=1; [ -z "$_p" ] || kill -TERM "$_p" 2>/dev/null' TERM INT HUP
"""

_MAIN = """\
_T= _w= _n=0
stop() { for _j in $_w; do kill -TERM "$_j" 2>/dev/null; done; }
trap '_T=1 _g=1; stop' TERM INT HUP
while [ $_n -lt @SLOTS ]; do
w &
_w="$_w $!" _n=$((_n+1))
done
[ -z "$_T" ] || stop
for _v in $_w; do
while :; do
_g=
wait "$_v" 2>/dev/null
[ -n "$_g" ] || break
done
done
_n=0
[ ! -s "$_b/ends" ] || while IFS= read -r _h; do
printf '%s\\n' "$_h"
case $_h in *" end "*) _n=$((_n+1)) ;; esac
done <"$_b/ends"
say "over $_n"
rm -rf -- "$_b"
[ -z "$_T" ] || exit 143
exit 0
"""
