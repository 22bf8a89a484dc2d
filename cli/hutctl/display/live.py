"""Progress on a terminal: a bar, counts, what runs now, rate and time left; failures stay above.

The whole display is drawn at most a few times per second, however many tasks come and go.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hutctl.client import Progress, Running
from hutctl.display.lines import change_text
from hutctl.display.text import duration

__all__ = ["LiveDisplay"]

_REDRAW_SECONDS = 0.2
_WINDOW_SECONDS = 20.0
_RUNNING_LINES = 8
_FAILURES_SHOWN = 20
_STYLES = {
    "running": "cyan",
    "pending": "dim",
    "submitted": "blue",
    "completed": "green",
    "failed": "red",
    "dep_failed": "yellow",
}


class LiveDisplay:
    """Draws on stderr while a run goes on."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._began = time.monotonic()
        self._drawn = 0.0
        self._samples: deque[tuple[float, int]] = deque()
        self._failures = 0

    def show(self, progress: Progress) -> None:
        """Draw, if the last time is long enough ago; failures are always told."""
        failures = [
            change
            for change in progress.changes
            if change["state"] == "failed" or (change["state"] == "pending" and change["reason"])
        ]
        now = time.monotonic()
        due = now - self._drawn >= _REDRAW_SECONDS
        if not failures and not due:
            return
        # Half a drawing can't be erased: Ctrl-C waits for the other half.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            for change in failures:
                self._tell_failure(change_text(change))
            if due:
                self._drawn = now
                self._live.update(self._picture(progress, now), refresh=True)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def close(self) -> None:
        """Remove the display; what was told above it stays."""
        self._live.stop()

    def _tell_failure(self, line: str) -> None:
        self._failures += 1
        if self._failures <= _FAILURES_SHOWN:
            self._console.print(Text(line, "red", overflow="ellipsis", no_wrap=True))
        elif self._failures == _FAILURES_SHOWN + 1:
            self._console.print(Text("... further failures are counted below", "red"))

    def _picture(self, progress: Progress, now: float) -> Group:
        run = progress.run
        counts, total = run["counts"], run["total"]
        done = counts["completed"] + counts["failed"] + counts["dep_failed"]
        head = Text.assemble(
            (run["workflow"], "bold"), "  ", (run["id"], "dim"), "  ", duration(now - self._began)
        )
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(total, 1), completed=done, width=32),
            Text(f"{done:,} of {total:,}"),
            Text(self._forecast(done, total, now), "dim"),
        )
        numbers = Text("  ").join(
            Text(f"{count:,} {state}", _STYLES[state])
            for state, count in counts.items()
            if count and (state != "submitted" or progress.queued)
        )
        return Group(head, bar, numbers, *self._running(progress.running, counts["running"]))

    def _forecast(self, done: int, total: int, now: float) -> str:
        """Return rate and time left, from the ends of the last moments."""
        self._samples.append((now, done))
        while self._samples[0][0] < now - _WINDOW_SECONDS:
            self._samples.popleft()
        began, before = self._samples[0]
        if done == before or now - began < 1:
            return ""
        rate = (done - before) / (now - began)
        shown = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
        if rate < 0.1:
            shown = f"{rate * 60:.1f}/min"
        return f"{shown}, {duration((total - done) / rate)} left"

    @staticmethod
    def _running(running: Sequence[Running], count: int) -> list[Text]:
        oldest = sorted(running, key=lambda task: task.since)[:_RUNNING_LINES]
        lines = [
            Text.assemble(
                ("  > ", "cyan"),
                task.task_id,
                (f" (attempt {task.attempt})" if task.attempt > 1 else "", "dim"),
                ("  " + duration(time.time() - task.since), "dim"),
                overflow="ellipsis",
                no_wrap=True,
            )
            for task in oldest
        ]
        more = count - len(oldest)
        if more > 0 and lines:
            lines.append(Text(f"    and {more:,} more", "dim"))
        return lines
