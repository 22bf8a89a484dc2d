"""Start the test bed: ``python -m tests.testbed --port N --work FOLDER [--home FOLDER]``."""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
import threading
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of jobs and of the log")
    parser.add_argument("--home", type=Path, help="home folder of jobs (default: WORK/home)")
    parser.add_argument("--ends-with-parent", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    work = given.work.resolve()
    home = (given.home or work / "home").resolve()
    for folder in (work / "tmp", home):
        folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{given.port}"
    _prepare(url, given.port, work)

    from tests.testbed.patching import Settings, use

    use(Settings.read(url, work, home))
    sys.argv = sys.argv[:1]  # the emulator has a command line of its own

    from ministack import app

    from tests.testbed import batch_jobs, hosts, installing

    installing.install(app)
    atexit.register(batch_jobs.kill_all)
    atexit.register(hosts.kill_all)
    if given.ends_with_parent:
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    app.main()


def _prepare(url: str, port: int, work: Path) -> None:
    """Set what the emulator reads from the environment when it is imported.

    Lambda functions inherit this environment.
    """
    from tests.testbed.address import REGION, aws_variables, without_aws

    kept = without_aws(dict(os.environ))
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(aws_variables(url))
    os.environ.update(
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        PERSIST_STATE="0",
        MINISTACK_REGION=REGION,
        LAMBDA_EXECUTOR="local",
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        STATE_DIR=str(work / "state"),
        S3_DATA_DIR=str(work / "s3"),
        TMPDIR=str(work / "tmp"),
    )
    os.environ.setdefault("LAMBDA_ACCOUNT_CONCURRENCY", "16")
    os.environ.setdefault("LOG_LEVEL", "WARNING")


def _end_with_parent(parent: int) -> None:
    """Leave nothing behind when the tests that started this were killed."""
    from tests.testbed import batch_jobs, hosts

    while os.getppid() == parent:
        time.sleep(1)
    batch_jobs.kill_all()
    hosts.kill_all()
    os.killpg(0, signal.SIGKILL)  # functions too: whoever starts it so, starts it as a group


if __name__ == "__main__":
    main()
