"""A batch file answered here, without `/v1/batches`: by a model in this process, or an endpoint."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tongwen.client.http import HttpClient
from tongwen.errors import RequestError
from tongwen.server.batch.output import Output
from tongwen.server.batch.rows import (
    Fault,
    Row,
    Survey,
    answer_line,
    answer_row,
    check_whole,
    fault_line,
    is_answer,
    read_rows,
    row_id,
    run_rows,
    survey,
)
from tongwen.server.errors import ApiError
from tongwen.server.keys import Caller
from tongwen.server.openai.errors import openai_error
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


@runtime_checkable
class Answerer(Protocol):
    """Whoever answers rows."""

    @property
    def model(self) -> str | None:
        """What rows ask that name none; `None`: they stay as they are."""
        ...

    async def ready(self) -> None:
        """Make ready; what fails for all rows fails here.

        Raises:
            TongwenError: No row could be answered.
        """
        ...

    async def answer(self, row: Row) -> dict[str, Any]:
        """The line that answers a row.

        Raises:
            TongwenError: It may be answered another time: nothing is written of it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Here:
    """A model of this process."""

    service: Service
    model: str | None

    async def ready(self) -> None:
        """Bring it into memory."""
        assert self.model is not None, "a model in memory has a name"
        await self.service.pool.preload(self.model)

    async def answer(self, row: Row) -> dict[str, Any]:
        """Its answer."""
        manner = Manner(Caller("", is_admin=False), is_patient=True)
        return await answer_row(self.service, manner, row)


@dataclass(frozen=True, slots=True)
class There:
    """An OpenAI-compatible endpoint."""

    client: HttpClient
    model: str | None

    async def ready(self) -> None:
        """Nothing: the first row shows whether it answers."""

    async def answer(self, row: Row) -> dict[str, Any]:
        """What it says, also where it refuses."""
        try:
            check_whole(row)
        except ApiError as error:
            return answer_line(row, error.status, openai_error(error))
        return answer_line(row, *await self.client.post(row.url.removeprefix("/v1"), row.body))


async def run_file(
    answerer: Answerer,
    *,
    source: Path,
    target: Path,
    concurrency: int,
    tell: Callable[[Progress], None],
) -> Progress:
    """Answer the rows of a file that the output does not hold yet.

    Args:
        answerer: Has the model.
        source: An OpenAI batch file.
        target: Answers and errors are appended to it, in the order in which they come.
        concurrency: Rows at once.
        tell: Called after each row.

    Raises:
        RequestError: Two rows have one `custom_id`, or the output is that of another file.
        TongwenError: The model cannot be loaded, or the endpoint does not answer; what is answered
            stays.
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
            await answerer.ready()  # fails once, here, and not with every row
        progress = Progress(total=found.total, before=len(done), begun=time.monotonic())

        def write(line: dict[str, Any]) -> None:
            output.write(line)
            _count(progress, line)
            tell(progress)

        rows = _left(source, answerer.model, done, write)
        await run_rows(rows, answerer.answer, write, concurrency)
    return progress


def _left(
    source: Path,
    model: str | None,
    done: frozenset[str | int],
    write: Callable[[dict[str, Any]], None],
) -> Iterator[Row]:
    """The rows that are still to be asked; lines that are none are written at once."""
    for row in read_rows(source):
        if row_id(row) in done:
            continue
        if isinstance(row, Fault):
            write(fault_line(row))
        else:
            named = row.body if model is None else {"model": model, **row.body}
            yield Row(row.line, row.custom_id, row.url, named)


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
    usage = line["response"]["body"].get("usage") or {}  # other servers leave it out
    progress.prompt_tokens += usage.get("prompt_tokens", usage.get("input_tokens", 0))
    progress.completion_tokens += usage.get("completion_tokens", usage.get("output_tokens", 0))
