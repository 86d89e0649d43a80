"""How far benchmarks are: a bar on a terminal, elsewhere a line now and then."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from tongwen.cli.figures import duration
from tongwen.cli.terminal import say
from tongwen.evals.examine import Progress as Run

_LINE_EVERY_S = 10.0


class Shown:
    """Shows progress; use it as a context."""

    def __init__(self) -> None:
        self._bars: dict[str, TaskID] = {}
        self._last_s = time.monotonic()
        self._live: Progress | None = None
        if sys.stderr is not None and sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[told]}"),
                console=Console(stderr=True),
            )

    def __enter__(self) -> "Shown":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, run: Run) -> None:
        """Show it, or not if it was shown a moment ago."""
        if self._live is not None:
            self._draw(self._live, run)
            return
        now, is_over = time.monotonic(), run.done == run.total
        if is_over or now - self._last_s >= _LINE_EVERY_S:
            self._last_s = now
            say(f"{run.name}: {run.done}/{run.total} samples{_told(run)}")

    def _draw(self, live: Progress, run: Run) -> None:
        if run.name not in self._bars:
            self._bars[run.name] = live.add_task(run.name, total=run.total, told="")
        live.update(self._bars[run.name], completed=run.done, told=_told(run).lstrip(", "))


def _told(run: Run) -> str:
    """Score so far, what failed, what was there before, time left."""
    told = "" if run.score is None else f", score {run.score:.3f}"
    told += f", {run.failed} failed" if run.failed else ""
    told += f", {run.before} of them before" if run.before else ""
    left = run.left_s
    return told if left is None or run.done == run.total else f"{told}, {duration(left)} left"
