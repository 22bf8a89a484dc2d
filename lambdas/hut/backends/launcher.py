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

from hut.backends.markers import ABSENT, nonce_of
from hut.lifecycle.attempt import EXIT_NOT_STARTED
from hut.model.quantities import format_seconds
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts
from hut.script.calling import DOCUMENTS
from hut.script.render import quote_path

__all__ = [
    "EXIT_NOT_FETCHED",
    "EXIT_TIMED_OUT",
    "FIRST",
    "FROM_ARGUMENT",
    "FROM_FILE",
    "LARGEST_GENERATED",
    "SAYING",
    "SHORTEST_BATCH_LIMIT",
    "StoredScript",
    "copying",
    "fetch_bundle",
    "fetch_part",
    "gather",
    "head_of",
    "is_plain",
    "launcher",
    "launcher_body",
    "launcher_of_parts",
    "resolve",
    "task_script",
    "working_dir_of",
]

EXIT_TIMED_OUT = 124
"""Exit code of a container whose launcher stopped the command; ``timeout`` of the coreutils has it."""

EXIT_NOT_FETCHED = 122
"""Exit code of a child of an array whose image could not fetch its script from S3."""

SHORTEST_BATCH_LIMIT = 60
"""Seconds: the shortest time limit Batch enforces itself (JobTimeout in its API reference)."""

LARGEST_GENERATED = 32 * 1024 * 1024
"""Bytes of a generated file that are copied; every reader of the log has to page through them."""

FIRST = ': "${HOME:=/}"\n'
"""Begins a launcher: paths of its head may name the home."""

FROM_ARGUMENT = '"$_s" -c "$0"'
FROM_FILE = '"$_s" "$_f"'
"""What runs the script: handed over as ``$0``, or fetched into the file ``$_f``."""

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
    fetch = "" if stored is None else _fetch(stored)
    how = FROM_ARGUMENT if stored is None else FROM_FILE
    body = launcher_body(spec, empty=empty, fetch=fetch, run=how, plain=is_plain(run))
    return f"{_first(run, spec, attempt)}{body}"


def copying(run: RunRecord, spec: TaskSpec, attempt: int, script: str) -> str:
    """Return a script that runs another one and copies what it generates into its log.

    For where whoever starts it sees to process groups, output files and limits. A signal for the
    group ends all of it.
    """
    shell = "BASH_ENV= bash -c : 2>/dev/null && _s=bash || _s=/bin/sh\n"
    start = f'"$_s" -c {shlex.quote(script)}\n_c=$?\n'
    if spec.call is None:
        before, after = "", _COPY
    else:
        # A TERM is for the whole group; what the program left is handed back all the same.
        before, after = f"{_DOCUMENTS}trap : TERM\n", _HAND_BACK
    return f'{_first(run, spec, attempt)}{SAYING}{shell}{before}{start}{after}exit "$_c"\n'


def launcher_of_parts(run: RunRecord, spec: TaskSpec, attempt: int, parts: int) -> str:
    """Return the text ``sh`` runs, with the task's script as its ``$0``, ``$1``, ... in so many parts.

    It leaves the time limit to whoever starts it.
    """
    gather, how = ("", FROM_ARGUMENT) if parts == 1 else (_GATHER, FROM_FILE)
    body = launcher_body(spec, fetch=gather, run=how, limited=False, plain=is_plain(run))
    return f"{_first(run, spec, attempt)}{body}"


def is_plain(run: RunRecord) -> bool:
    """Say whether the tasks of a run are for ``sh``, as lines of a task file are."""
    return run.settings.shell == "sh"


def _first(run: RunRecord, spec: TaskSpec, attempt: int) -> str:
    return f"{FIRST}_m=::hut:{nonce_of(run, spec, attempt)}: {head_of(spec)}\n"


def head_of(spec: TaskSpec) -> str:
    """Return the assignments in which the launchers of two tasks of one kind differ.

    They come behind `FIRST` and are one line, unless a path holds a line end.
    """
    values = [f"_d={quote_path(working_dir_of(spec))}"]
    paths = {"_o": spec.output_file, "_e": spec.error_file, "_g": spec.generates_source}
    values += [
        f"{name}={quote_path(resolve(spec, path))}"
        for name, path in paths.items()
        if path is not None
    ]
    return " ".join(values)


def launcher_body(
    spec: TaskSpec,
    *,
    empty: Iterable[str] = (),
    fetch: str = "",
    run: str = FROM_ARGUMENT,
    limited: bool = True,
    plain: bool = False,
    bundled: bool = False,
) -> str:
    """Return the launcher behind its head: the same for all tasks of a kind.

    Parameters
    ----------
    fetch
        What brings the script to where `run` finds it.
    run
        What runs the script, ``$_s`` being the shell.
    limited
        Whether it is to enforce a time limit that is too short for Batch.
    plain
        Run the script with ``sh`` though there is a bash.
    bundled
        Whether it is a task of a bundle that is launched: then ``$_s`` is known, any time limit is to
        be enforced, and what it says goes to the file ``$_k`` instead of the log.
    """
    limit = spec.resources.time_limit
    short = bundled or (limited and limit < SHORTEST_BATCH_LIMIT)
    exports = " ".join(["HOME", *(f"{name}=" for name in empty)])
    parts = [
        f"{_SAYING_IN_FILE if bundled else SAYING}export {exports}\n",
        "" if bundled else _SHELL if plain else _BASH,
        fetch,
        _redirections(spec),
        "" if spec.call is None else _DOCUMENTS,
        _START.replace("@RUN", f"{run}{_output(spec)}"),
        _LIMIT.format(limit=math.ceil(limit), grace=_KILL_GRACE) if short else "",
        _WAIT,
        'rm -f -- "$_f"\n' if run == FROM_FILE else "",
        "" if spec.call is None else _HAND_BACK,
        _TIMED_OUT.format(limit=format_seconds(limit), code=EXIT_TIMED_OUT) if short else "",
        _NO_FOLDER.format(code=EXIT_NOT_STARTED),
        "" if spec.generates_source is None else _COPY,
        'exit "$_c"\n',
    ]
    return "".join(parts)


# A line that follows output without an end of its own is found all the same: see `markers`.
_HAS = """\
has() { command -v "$1" >/dev/null 2>&1; }
no() { say not-started "$1"; exit 125; }
"""
SAYING = f"""\
say() {{ printf '%s\\n' "$_m$*"; }}
{_HAS}"""
_SAYING_IN_FILE = f"""\
say() {{ printf '%s\\n' "$*" >"$_k"; }}
{_HAS}"""

# A bash that is found may still not run here, and exec would not come back. BASH_ENV is for the
# command, not for this look.
_SHELL = """\
_s=/bin/sh
"""
_BASH = """\
_s=bash
BASH_ENV= bash -c : 2>/dev/null || _s=/bin/sh
"""

# The command's processes get a process group, so that all of them can be stopped. Not every shell
# has job control without a terminal, and not every image has setsid; then only the first is reached,
# and the rest ends with the container.
_START = """\
_p= _c= _t= _T= _w=
k() { [ -z "$_p" ] || kill -"$1" -"$_p" 2>/dev/null || kill -"$1" "$_p" 2>/dev/null; }
trap '_t=1; k TERM' TERM INT HUP
_x=
set -m 2>/dev/null
case $- in *m*) ;; *) has setsid && _x=setsid ;; esac
$_x @RUN &
_p=$!
set +m 2>/dev/null
[ -z "$_t" ] || k TERM
"""

# The timer can only send signals: what it sets, the shell that waits does not see. What it starts
# must not hold the log open. Where somebody killed the shell it outlives it, and the number it would signal
# may be a stranger's by then: so it looks, where there is a /proc, whether that still is its parent.
_LIMIT = """\
trap '_t=1; if [ -n "$_T" ]; then k KILL; else _T=1; k TERM; fi' USR1
if has sleep; then
(trap 'kill $_q; exit' TERM
u() {{ _e=; read -r _a _b _i _e _r </proc/self/stat; [ "${{_e:-$$}}" = $$ ] && kill -USR1 $$ || exit; }}
sleep {limit} & _q=$!; wait $_q; u
sleep {grace} & _q=$!; wait $_q; u) >/dev/null 2>&1 &
_w=$!
fi
"""

# A trapped signal ends wait early. A second wait for what has ended may answer 127.
_WAIT = """\
while :; do
_t=
wait "$_p" 2>/dev/null
_n=$?
[ "$_n" = 127 ] && [ -n "$_c" ] || _c=$_n
[ -n "$_t" ] || break
done
[ -z "$_w" ] || kill "$_w" 2>/dev/null
kill -KILL -"$_p" 2>/dev/null
"""

_TIMED_OUT = """\
[ -z "$_T" ] || {{ say timeout stopped at its time limit of {limit}; exit {code}; }}
"""

_NO_FOLDER = """\
[ "$_c" != {code} ] || [ -d "$_d" ] || say not-started "the working folder $_d does not exist"
"""

_FILE = """\
_f=${TMPDIR:-/tmp}/hut-${_m#::hut:}
_f=${_f%:}.sh
(umask 077; : >"$_f") || no "the script can't be written to $_f"
"""

# Linux starts nothing with an argument of 128 KiB or more; a shell's own printf has no such bound.
_GATHER = f"""\
{_FILE}printf %s "$0" "$@" >"$_f" || no "the script can't be written to $_f"
"""

# The file is read again by whoever wants to be sure that it is the right one.
_FETCH = """\
_u={url}
{file}get() {{
has curl && curl -fsS --retry 3 {curl}-o "$_f" "$_u" && is && return
has wget && wget -q {wget}-O "$_f" "$_u" && is && return
has python3 && python3 -c 'import sys,urllib.request as r
h=dict(Range="bytes="+sys.argv[3]) if sys.argv[3:] else {{}}
d=r.urlopen(r.Request(sys.argv[1],headers=h)).read()
open(sys.argv[2],"wb").write(d)' "$_u" "$_f"{python} && is && return
{aws}
}}
"""

_GET_WHOLE = """\
is() { :; }
get || no 'the script is too large to be handed over directly, and could not be fetched from S3; \
that needs curl, wget, python3 or aws in the image'
"""

# The first line of a bundle's program tells whose it is.
_GET_BUNDLE = """\
is() {{ IFS= read -r _l <"$_f" && [ "$_l" = "#hut {nonce}" ]; }}
get || {{ say no-fetch the script could not be fetched from S3\\; that needs curl, wget, python3 or aws \
in the image; rm -f -- "$_f"; exit {code}; }}
"""

# A child of an array takes its part of the table, and makes sure that it is its own.
_GET_PART = """\
is() {{ IFS= read -r _l <"$_f" && case $_l in "#hut $_n "*) ;; *) false ;; esac; }}
get || {{ say no-fetch the script could not be fetched from S3\\; that needs curl, wget, python3 or aws \
in the image; rm -f -- "$_f"; exit {code}; }}
eval "${{_l#"#hut $_n "}}"
"""

# The folder of a task program's files is this attempt's alone, and new.
_DOCUMENTS = f"""\
_Q=${{TMPDIR:-/tmp}}/hut-${{_m#::hut:}}
_Q=${{_Q%:}}.d
rm -rf -- "$_Q"
(umask 077; mkdir -- "$_Q") || no "the folder $_Q can't be made"
export {DOCUMENTS}="$_Q"
"""

# base64 and od end their lines themselves; joined, they make fewer events, still below the 4 KiB that
# a pipe takes without mixing them with others. With the shell alone, long lines are cut, but not
# within a character: what follows a cut must not be one of UTF-8's continuation bytes.
_COPYING = f"""\
copy() {{
[ -e "$_g" ] || {{ say "$_W"no-file {ABSENT}; return; }}
[ ! -d "$_g" ] || {{ say "$_W"no-file Is a directory; return; }}
[ -r "$_g" ] || {{ say "$_W"no-file Permission denied; return; }}
_n=$({{ wc -c <"$_g"; }} 2>/dev/null)
_n=$((${{_n:-0}}))
[ $_n -le {LARGEST_GENERATED} ] || {{ say "$_W"no-file 'larger than {LARGEST_GENERATED >> 20} MiB'; return; }}
_h=-
if _v=$({{ cksum <"$_g"; }} 2>/dev/null); then set -- $_v; _h=cksum=$1,$2
elif _v=$({{ sha256sum <"$_g"; }} 2>/dev/null); then _h=sha256=${{_v%% *}}; fi
_i=0 _j=0 _b=
put() {{ _i=$((_i+1)); say "${{_W}}data $_i $1"; }}
join() {{
while IFS= read -r _l || [ -n "$_l" ]; do
_b=$_b$_l _j=$((_j+1))
[ $_j -lt 48 ] || {{ put "$_b"; _b= _j=0; }}
done
[ -z "$_b" ] || put "$_b"
say "${{_W}}end $_i $_h"
}}
if base64 </dev/null >/dev/null 2>&1; then say "$_W"begin base64; base64 <"$_g" | join; return; fi
if od -An -v -tx1 </dev/null >/dev/null 2>&1; then say "$_W"begin od; od -An -v -tx1 <"$_g" | join; return; fi
[ $_n -le {_LARGEST_TEXT_COPY} ] || {{ say "$_W"no-file 'too large to be copied without base64 or od'; return; }}
say "$_W"begin text
LC_ALL=C
_b=$(printf '[\\200-\\277]*')
while :; do
_r=.
IFS= read -r _l || _r=+
[ $_r = . ] || [ -n "$_l" ] || break
while [ ${{#_l}} -gt 1024 ]; do
for _k in 1024 1025 1026 1027; do
_z=$(printf %.${{_k}}s "$_l")
_y=${{_l#"$_z"}}
case $_y in $_b) ;; *) break ;; esac
done
put "+$_z|"
_l=$_y
done
put "$_r$_l|"
[ $_r = . ] || break
done <"$_g"
say "${{_W}}end $_i $_h"
}}
"""
_COPY = f"""\
{_COPYING}_W=
[ "$_c" != 0 ] || copy
"""

# Of a task program both files are told of, however it ended; what is no regular file might never end.
_HAND_BACK = f"""\
{_COPYING}back() {{
_W="$1 " _g=$_Q/$1.json
if [ -h "$_g" ] || {{ [ -e "$_g" ] && [ ! -f "$_g" ]; }}; then say "$_W"no-file is no regular file
else copy; fi
}}
back output
back error
rm -rf -- "$_Q"
"""


def gather() -> str:
    """Return what puts ``$0``, ``$1``, ... together into the file ``$_f``."""
    return _GATHER


def fetch_bundle(stored: StoredScript, nonce: str) -> str:
    """Return what brings the stored program of a bundle into the file ``$_f``."""
    return _fetch_whole(stored) + _GET_BUNDLE.format(nonce=nonce, code=EXIT_NOT_FETCHED)


def _fetch(stored: StoredScript) -> str:
    return _fetch_whole(stored) + _GET_WHOLE


def _fetch_whole(stored: StoredScript) -> str:
    aws = "false"
    if stored.place is not None:
        place = shlex.quote(stored.place)
        aws = f'has aws && aws s3 cp --only-show-errors {place} "$_f" && is'
    url = shlex.quote(stored.url)
    return _FETCH.format(url=url, file=_FILE, aws=aws, curl="", wget="", python="")


def fetch_part(table: StoredScript, width: int) -> str:
    """Return what brings a child of an array its part of a stored table, and reads its head.

    Parameters
    ----------
    width
        Bytes of each part.
    """
    aws = "false"
    if table.place is not None:
        bucket, _, key = table.place.removeprefix("s3://").partition("/")
        where = f"--bucket {shlex.quote(bucket)} --key {shlex.quote(key)}"
        aws = f'has aws && aws s3api get-object {where} --range "bytes=$_r" "$_f" >/dev/null && is'
    part = {"curl": '-r "$_r" ', "wget": '--header "Range: bytes=$_r" ', "python": ' "$_r"'}
    fetch = _FETCH.format(url=shlex.quote(table.url), file=_FILE, aws=aws, **part)
    first = f"_r=$((_n*{width}))-$((_n*{width}+{width - 1}))\n"
    return f"{first}{fetch}{_GET_PART.format(code=EXIT_NOT_FETCHED)}"


def _redirections(spec: TaskSpec) -> str:
    """Return what makes the files for output, empty; they are appended to, as locally."""
    names = [name for name, path in (("_o", spec.output_file), ("_e", spec.error_file)) if path]
    if not names:
        return ""
    lines = ['file() { mkdir -p -- "${1%/*}/" && (: >"$1"); }\n']
    lines += [
        f'file "${name}" || no "the task could not be started: ${name} can\'t be written"\n'
        for name in names
    ]
    return "".join(lines)


def _output(spec: TaskSpec) -> str:
    output, error = (
        None if path is None else resolve(spec, path)
        for path in (spec.output_file, spec.error_file)
    )
    text = "" if output is None else ' >>"$_o"'
    if error is not None:
        text += " 2>&1" if error == output else ' 2>>"$_e"'
    return text
