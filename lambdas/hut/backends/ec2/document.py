"""The SSM document that starts the agent on an instance.

Its one step is a shell script that unpacks the agent (a zip archive that Python runs, in base64) into a
private folder and starts it. SSM puts parameters into the text before a shell reads it; each one
stands in single quotes, and its pattern lets nothing through that could end them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

__all__ = ["LARGEST_DOCUMENT", "agent_archive", "document_content"]

LARGEST_DOCUMENT = 64 * 1024
"""Bytes of a document with the parameters of a command, as SSM allows."""

_PACKAGES = ("hut", "hut/backends", "hut/backends/ec2")
_START = "from hut.backends.ec2.host.agent import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same archive for the same sources, whenever it is made
_LINE = 1000
_END = "END-OF-AGENT"

_ATTEMPT = "^[A-Za-z0-9][A-Za-z0-9-]{0,127}$"
_PAYLOAD = "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9/_.=-]{1,900}$"
_REGION = "^([a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2})?$"
_SECONDS = "^[1-9][0-9]{0,5}$"

# Exit codes: the agent's report is what counts, and SSM's agent reboots the machine for 194.
_UNPACK = """\
umask 077
report() {
printf '{"how": "not_started", "exit_code": null, "started": null, "ended": null, "said": "%s"}\\n' "$1"
exit 0
}
command -v python3 >/dev/null 2>&1 ||
report 'the image of this instance has no python3, which Hut needs to run a task; name an AMI that has it'
python3 -c 'import sys; sys.exit(sys.version_info < (3, 7))' 2>/dev/null ||
report 'the python3 of this instance is older than 3.7 or does not work; name an AMI with a newer one'
d=${HUT_HOST_DIR:-/var/lib/hut}
a=$d/agent-@DIGEST.pyz
{ mkdir -p -- "$d" && python3 -I -c 'import base64, os, sys
whole = base64.b64decode(sys.stdin.buffer.read())
own = "%s.%d" % (sys.argv[1], os.getpid())
with open(own, "wb") as file:
    file.write(whole)
os.replace(own, sys.argv[1])' "$a" 2>/dev/null; } <<'@END' ||
"""
# An agent that was killed (for want of memory, say) is started once more: it finds the attempt taken,
# ends what is left of it, and says so. Signals of the group are for the agent, the shell waits.
_RUN = """\
report "the folder $d of this instance can not be written to; its disk may be full"
trap : HUP INT TERM
for i in 1 2; do
python3 -I "$a" '{{ Attempt }}' '{{ Payload }}' '{{ Region }}' </dev/null && exit 0
done
printf '{"how": "lost", "exit_code": null, "started": null, "ended": null, "said": "%s"}\\n' \\
'the program that runs tasks on the instance was killed'
exit 0
"""


def document_content() -> dict[str, Any]:
    """Return the document: schema 2.2, one step, for ``AWS::SSM::Document`` of type Command.

    Parameters of a command: ``Attempt`` (the job's name), ``Payload`` (``s3://bucket/key``),
    ``Region`` (of bucket and log; the instance's own if it is empty), ``ExecutionTimeout`` (seconds,
    after which SSM kills the agent; at most 172,800).
    """
    return {
        "schemaVersion": "2.2",
        "description": "Run the task of one attempt of a Hut run, and report how it ended",
        "parameters": {
            "Attempt": {
                "type": "String",
                "description": "The name of the attempt's job",
                "allowedPattern": _ATTEMPT,
            },
            "Payload": {
                "type": "String",
                "description": "Where in S3 it says what to run",
                "allowedPattern": _PAYLOAD,
            },
            "Region": {
                "type": "String",
                "description": "The region of the bucket and the log",
                "default": "",
                "allowedPattern": _REGION,
            },
            "ExecutionTimeout": {
                "type": "String",
                "description": "After how many seconds the command is killed",
                "default": "172800",
                "allowedPattern": _SECONDS,
            },
        },
        "mainSteps": [
            {
                "action": "aws:runShellScript",
                "name": "run",
                "precondition": {"StringEquals": ["platformType", "Linux"]},
                "inputs": {
                    "timeoutSeconds": "{{ ExecutionTimeout }}",
                    "runCommand": _script().splitlines(),
                },
            }
        ],
    }


def agent_archive() -> bytes:
    """Return the agent as an archive that ``python3`` runs: its package, and what starts it."""
    folder = Path(__file__).with_name("host")
    files = {f"{package}/__init__.py": "" for package in _PACKAGES}
    for path in sorted(folder.glob("*.py")):
        files[f"hut/backends/ec2/host/{path.name}"] = path.read_text("utf-8")
    files["__main__.py"] = _START
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED, 9)
    return into.getvalue()


def _script() -> str:
    archive = agent_archive()
    digest = hashlib.sha256(archive).hexdigest()[:16]
    text = base64.b64encode(archive).decode()
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    unpack = _UNPACK.replace("@DIGEST", digest).replace("@END", _END)
    return "".join([unpack, *(f"{line}\n" for line in lines), f"{_END}\n", _RUN])


if __name__ == "__main__":  # for a look at it, or to register it by hand
    print(json.dumps(document_content(), indent=2))
