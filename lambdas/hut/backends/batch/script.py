"""What runs in the container: the task's script, and the launcher around it. Pure text.

The script is what `hut.script` renders, without variables: those are in the container's environment.
The launcher is for what the local backend does from outside: it finds a shell, sends the output where
the task wants it, hands a TERM on to all of the command's processes (as process 1 of a container, a
shell would not even notice it), enforces limits that are too short for Batch, and copies what a
task generated into the log. It runs in any POSIX sh and needs nothing else; what it uses beyond
that (``setsid``, ``sleep``, ``base64``, ...) it can do without.

The container's command is ``/bin/sh -c LAUNCHER SCRIPT``: so the script is ``$0``, and needs no quotes.
"""

from __future__ import annotations

import math
import posixpath
import shlex
from collections.abc import Iterable
from typing import NamedTuple

from hut.backends.batch.markers import nonce_of
from hut.lifecycle.attempt import EXIT_NOT_STARTED
from hut.model.quantities import format_seconds
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts
from hut.script.render import quote_path

__all__ = [
    "EXIT_TIMED_OUT",
    "LARGEST_GENERATED",
    "SHORTEST_BATCH_LIMIT",
    "StoredScript",
    "launcher",
    "resolve",
    "task_script",
    "working_dir_of",
]

EXIT_TIMED_OUT = 124
"""Exit code of a container whose launcher stopped the command; ``timeout`` of the coreutils has it."""

SHORTEST_BATCH_LIMIT = 60
"""Seconds: the shortest time limit Batch enforces itself (JobTimeout in its API reference)."""

LARGEST_GENERATED = 32 * 1024 * 1024
"""Bytes of a generated file that are copied; every reader of the log has to page through them."""

_KILL_GRACE = 5
_LARGEST_TEXT_COPY = 256 * 1024


class StoredScript(NamedTuple):
    """Where a script is that is too large to be handed to Batch.

    Attributes
    ----------
    url : str
        A presigned URL; anyone can read the script with it for a while.
    place : str or None
        ``s3://bucket/key``, for images with the AWS CLI, if the job has a role.
    """

    url: str
    place: str | None = None


def working_dir_of(spec: TaskSpec) -> str:
    """Return the folder a task runs in: absolute, or from the container's home (``~``) on."""
    return _below("~", spec.working_dir or "~")


def resolve(spec: TaskSpec, path: str) -> str:
    """Return the path of a file a task names: relative to its folder, or as it is."""
    return _below(working_dir_of(spec), path)


def _below(folder: str, path: str) -> str:
    if path == "~" or path.startswith("~/"):
        return path
    return posixpath.join(folder, path)


def task_script(run: RunRecord, spec: TaskSpec, attempt: int, *, exports: bool) -> str:
    """Return the script of an attempt.

    Parameters
    ----------
    exports
        Whether the script sets its variables itself, instead of finding them set.
    """
    request = ScriptRequest(spec, attempt, working_dir_of(spec))
    return Scripts(run, "sh", exports=exports).render(request)


def launcher(
    run: RunRecord,
    spec: TaskSpec,
    attempt: int,
    *,
    empty: Iterable[str] = (),
    stored: StoredScript | None = None,
) -> str:
    """Return the text ``sh`` runs, with the task's script as its ``$0``.

    Parameters
    ----------
    empty
        Names of variables without a value: Batch drops those.
    stored
        Where the script is, if it is not ``$0``.
    """
    folder = quote_path(working_dir_of(spec))
    limit = spec.resources.time_limit
    short = limit < SHORTEST_BATCH_LIMIT
    exports = " ".join(["HOME", *(f"{name}=" for name in empty)])
    parts = [
        f"m=::hut:{nonce_of(run, spec, attempt)}:\n{_HEAD}export {exports}\n",
        _SHELL,
        "" if stored is None else _fetch(stored),
        _redirections(spec),
        _START.replace("@RUN", f"{_run(stored)}{_output(spec)}"),
        _LIMIT.format(limit=math.ceil(limit), grace=_KILL_GRACE) if short else "",
        _WAIT,
        "" if stored is None else 'rm -f -- "$f"\n',
        _TIMED_OUT.format(limit=format_seconds(limit), code=EXIT_TIMED_OUT) if short else "",
        _NO_FOLDER.format(
            code=EXIT_NOT_STARTED,
            folder=folder,
            sentence=shlex.quote(f"the working folder {working_dir_of(spec)} does not exist"),
        ),
    ]
    if spec.generates_source is not None:
        path = quote_path(resolve(spec, spec.generates_source))
        parts.append(f"g={path}\n{_COPY}")
    parts.append('exit "$c"\n')
    return "".join(parts)


# A line that follows output without an end of its own is found all the same: see `markers`.
_HEAD = """\
say() { printf '%s\\n' "$m$*"; }
has() { command -v "$1" >/dev/null 2>&1; }
no() { say not-started "$1"; exit 125; }
: "${HOME:=/}"
"""

# A bash that is found may still not run here, and exec would not come back. BASH_ENV is for the
# command, not for this look.
_SHELL = """\
s=bash
BASH_ENV= bash -c : 2>/dev/null || s=/bin/sh
"""

# The command's processes get a process group, so that all of them can be stopped. Not every shell
# has job control without a terminal, and not every image has setsid; then only the first is reached,
# and the rest ends with the container.
_START = """\
p= c= t= T= w=
k() { [ -z "$p" ] || kill -"$1" -"$p" 2>/dev/null || kill -"$1" "$p" 2>/dev/null; }
trap 't=1; k TERM' TERM INT HUP
x=
set -m 2>/dev/null
case $- in *m*) ;; *) has setsid && x=setsid ;; esac
$x @RUN &
p=$!
set +m 2>/dev/null
[ -z "$t" ] || k TERM
"""

# The timer can only send signals: what it sets, the shell that waits does not see. What it starts
# must not hold the log open.
_LIMIT = """\
trap 't=1; if [ -n "$T" ]; then k KILL; else T=1; k TERM; fi' USR1
if has sleep; then
(trap 'kill $q; exit' TERM
sleep {limit} & q=$!; wait $q; kill -USR1 $$
sleep {grace} & q=$!; wait $q; kill -USR1 $$) >/dev/null 2>&1 &
w=$!
fi
"""

# A trapped signal ends wait early. A second wait for what has ended may answer 127.
_WAIT = """\
while :; do
t=
wait "$p" 2>/dev/null
n=$?
[ "$n" = 127 ] && [ -n "$c" ] || c=$n
[ -n "$t" ] || break
done
[ -z "$w" ] || kill "$w" 2>/dev/null
kill -KILL -"$p" 2>/dev/null
"""

_TIMED_OUT = """\
[ -z "$T" ] || {{ say timeout stopped at its time limit of {limit}; exit {code}; }}
"""

_NO_FOLDER = """\
[ "$c" != {code} ] || [ -d {folder} ] || say not-started {sentence}
"""

_FETCH = """\
u={url}
f=${{TMPDIR:-/tmp}}/hut-${{m#::hut:}}
f=${{f%:}}.sh
(umask 077; : >"$f") || no "the script can't be written to $f"
get() {{
has curl && curl -fsS --retry 3 -o "$f" "$u" && return
has wget && wget -q -O "$f" "$u" && return
has python3 && python3 -c 'import sys,urllib.request as r
d=r.urlopen(sys.argv[1]).read()
open(sys.argv[2],"wb").write(d)' "$u" "$f" && return
{aws}
}}
get || no 'the script is too large to be handed over directly, and could not be fetched from S3; \
that needs curl, wget, python3 or aws in the image'
"""

# base64 and od end their lines themselves; joined, they make fewer events, still below the 4 KiB that
# a pipe takes without mixing them with others. With the shell alone, long lines are cut, but not
# within a character: what follows a cut must not be one of UTF-8's continuation bytes.
_COPY = f"""\
copy() {{
[ -e "$g" ] || {{ say no-file No such file or directory; return; }}
[ ! -d "$g" ] || {{ say no-file Is a directory; return; }}
[ -r "$g" ] || {{ say no-file Permission denied; return; }}
n=$({{ wc -c <"$g"; }} 2>/dev/null)
n=$((${{n:-0}}))
[ $n -le {LARGEST_GENERATED} ] || {{ say no-file 'larger than {LARGEST_GENERATED >> 20} MiB'; return; }}
h=-
if v=$({{ cksum <"$g"; }} 2>/dev/null); then set -- $v; h=cksum=$1,$2
elif v=$({{ sha256sum <"$g"; }} 2>/dev/null); then h=sha256=${{v%% *}}; fi
i=0 j=0 b=
put() {{ i=$((i+1)); say "data $i $1"; }}
join() {{
while IFS= read -r l || [ -n "$l" ]; do
b=$b$l j=$((j+1))
[ $j -lt 48 ] || {{ put "$b"; b= j=0; }}
done
[ -z "$b" ] || put "$b"
say "end $i $h"
}}
if base64 </dev/null >/dev/null 2>&1; then say begin base64; base64 <"$g" | join; return; fi
if od -An -v -tx1 </dev/null >/dev/null 2>&1; then say begin od; od -An -v -tx1 <"$g" | join; return; fi
[ $n -le {_LARGEST_TEXT_COPY} ] || {{ say no-file 'too large to be copied without base64 or od'; return; }}
say begin text
LC_ALL=C
b=$(printf '[\\200-\\277]*')
while :; do
r=.
IFS= read -r l || r=+
[ $r = . ] || [ -n "$l" ] || break
while [ ${{#l}} -gt 1024 ]; do
for k in 1024 1025 1026 1027; do
z=$(printf %.${{k}}s "$l")
y=${{l#"$z"}}
case $y in $b) ;; *) break ;; esac
done
put "+$z|"
l=$y
done
put "$r$l|"
[ $r = . ] || break
done <"$g"
say "end $i $h"
}}
[ "$c" != 0 ] || copy
"""


def _fetch(stored: StoredScript) -> str:
    place = stored.place
    aws = f'has aws && aws s3 cp --only-show-errors {shlex.quote(place)} "$f"' if place else "false"
    return _FETCH.format(url=shlex.quote(stored.url), aws=aws)


def _run(stored: StoredScript | None) -> str:
    return '"$s" -c "$0"' if stored is None else '"$s" "$f"'


def _redirections(spec: TaskSpec) -> str:
    """Return what makes the files for output, empty; they are appended to, as locally."""
    paths = {spec.output_file, spec.error_file} - {None}
    if not paths:
        return ""
    lines = ['file() { mkdir -p -- "${1%/*}/" && (: >"$1"); }\n']
    for path in sorted(resolve(spec, path) for path in paths if path is not None):
        sentence = shlex.quote(f"the task could not be started: {path} can't be written")
        lines.append(f"file {quote_path(path)} || no {sentence}\n")
    return "".join(lines)


def _output(spec: TaskSpec) -> str:
    output, error = (
        None if path is None else quote_path(resolve(spec, path))
        for path in (spec.output_file, spec.error_file)
    )
    text = "" if output is None else f" >>{output}"
    if error is not None:
        text += " 2>&1" if error == output else f" 2>>{error}"
    return text
