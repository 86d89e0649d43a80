"""A batch file answered in this process, without a server."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.errors import RequestError
from tongwen.server.batch.output import Output
from tongwen.server.batch.rows import (
    Fault,
    Row,
    Survey,
    answer_row,
    fault_line,
    is_answer,
    read_rows,
    row_id,
    run_rows,
    survey,
)
from tongwen.server.keys import Caller
from tongwen.server.service import Manner, Service


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a batch has come."""

    total: int
    """Rows of the file."""

    before: int
    """Rows that the output already held."""

    completed: int = 0
    """Rows answered since."""

    failed: int = 0
    """Rows that became errors since."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    begun: float = 0.0
    """When, on the clock of `time.monotonic`."""

    @property
    def done(self) -> int:
        """Rows that the output holds."""
        return self.before + self.completed + self.failed

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.begun

    @property
    def left_s(self) -> float | None:
        """Seconds left, if the rest is like what was done; `None` before the first row."""
        since = self.done - self.before
        return self.seconds / since * (self.total - self.done) if since else None


async def run_file(
    service: Service,
    *,
    model: str,
    source: Path,
    target: Path,
    concurrency: int,
    tell: Callable[[Progress], None],
) -> Progress:
    """Answer the rows of a file that the output does not hold yet.

    Args:
        service: Has the model.
        model: What rows ask that name none.
        source: An OpenAI batch file.
        target: Answers and errors are appended to it, in the order in which they come.
        concurrency: Rows at once.
        tell: Called after each row.

    Raises:
        RequestError: Two rows have one `custom_id`, or the output is that of another file.
        TongwenError: The model cannot be loaded.
        CapacityError: The disk is full.
    """
    found = survey(source)
    if found.repeated:
        first = found.repeated[0]
        raise RequestError(f"line {first.line} of `{source}`: {first.message}")
    with Output(target) as output:
        _check_same(found, output, source)
        done = frozenset(output.ids)
        if len(done) < found.total:
            await service.pool.preload(model)  # fails once, here, and not with every row
        progress = Progress(total=found.total, before=len(done), begun=time.monotonic())

        def write(line: dict[str, Any]) -> None:
            output.write(line)
            _count(progress, line)
            tell(progress)

        manner = Manner(Caller("", is_admin=False), is_patient=True)
        await run_rows(
            _left(source, model, done, write),
            lambda row: answer_row(service, manner, row),
            write,
            concurrency,
        )
    return progress


def _left(
    source: Path, model: str, done: frozenset[str | int], write: Callable[[dict[str, Any]], None]
) -> Iterator[Row]:
    """The rows that are still to be asked; lines that are none are written at once."""
    for row in read_rows(source):
        if row_id(row) in done:
            continue
        if isinstance(row, Fault):
            write(fault_line(row))
        else:
            yield Row(row.line, row.custom_id, row.url, {"model": model, **row.body})


def _check_same(found: Survey, output: Output, source: Path) -> None:
    if strange := sorted(map(str, output.ids - found.ids)):
        raise RequestError(
            f"`{output.path}` answers `{strange[0]}`, which is no row of `{source}`",
            hint="name another file for the output; this one is left as it is",
        )


def _count(progress: Progress, line: dict[str, Any]) -> None:
    if not is_answer(line):
        progress.failed += 1
        return
    progress.completed += 1
    usage = line["response"]["body"]["usage"]
    progress.prompt_tokens += usage.get("prompt_tokens", usage.get("input_tokens", 0))
    progress.completion_tokens += usage.get("completion_tokens", usage.get("output_tokens", 0))
