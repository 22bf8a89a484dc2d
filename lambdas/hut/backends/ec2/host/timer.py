"""The instance's own end: ``shutdown`` at a time that each task sets anew.

Instances are launched so that shutting down terminates them. Whatever becomes of the agent, of SSM and
of Hut, the machine does not outlive this timer. A timer that is set replaces the one before, as
systemd's ``shutdown`` does it; the user data of the launch sets the first.
"""

from __future__ import annotations

import math
import shutil
import subprocess

__all__ = ["IDLE_SLACK", "LEAST_SLACK", "PREPARATION", "set_timer"]

PREPARATION = 1800
"""Seconds until a task is started at most: docker, and the image's pull; Hut's backend counts on it, too."""

LEAST_SLACK = 120
"""Seconds a task's machine outlives its time limit at least: its end has to be told, too."""

IDLE_SLACK = 600
"""Seconds an idle machine outlives its time: others end it before that, and know of it."""

_PATIENCE = 20


def set_timer(seconds: float) -> str:
    """Let the machine end itself after so many seconds, in whole minutes.

    Returns
    -------
    str
        Why that is not possible; empty if it is done.
    """
    program = shutil.which("shutdown")
    if program is None:
        return "the image has no shutdown, so nothing ends the instance from inside"
    minutes = max(math.ceil(seconds / 60), 1)
    for arguments in (["-h", f"+{minutes}"], ["-c"], ["-h", f"+{minutes}"]):
        try:
            done = subprocess.run(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
        else:
            if done.returncode == 0 and arguments[0] == "-h":
                return ""
            said = done.stderr.decode("utf-8", "replace").strip() or f"code {done.returncode}"
    return f"shutdown does not work, so nothing ends the instance from inside: {said[:200]}"
