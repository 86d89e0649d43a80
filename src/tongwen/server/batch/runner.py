"""The task that answers the rows of the server's batches, behind everybody who waits."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tongwen.checkpoint.lock import try_locked
from tongwen.server.batch.jobs import Job, Jobs
from tongwen.server.batch.output import Output
from tongwen.server.batch.rows import (
    Fault,
    Row,
    answer_row,
    is_answer,
    read_rows,
    row_id,
    run_rows,
    survey,
    unasked_line,
)
from tongwen.server.files import Files
from tongwen.server.keys import Caller
from tongwen.server.service import Manner, Service

Write = Callable[[dict[str, Any]], None]

log = logging.getLogger(__name__)

_PRIORITY = 100
"""After whoever waits for an answer."""

_LOOKS_EVERY_S, _NOTES_EVERY_S, _AGAIN_S = 5.0, 1.0, 60.0
_MOST_FAULTS = 100


class Batches:
    """The batches of a server, each run by a task of its own.

    Args:
        service: The server's.
        files: Where answers go.
    """

    def __init__(self, service: Service, files: Files) -> None:
        self._service, self._files = service, files
        open_batches = service.config.limits.open_batches
        self.jobs = Jobs(service.store.home / "batches", open_batches)
        self._tasks: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """Go on with what an earlier process has not ended."""
        for job in await asyncio.to_thread(self.jobs.all):
            if job.has_ended:
                self.jobs.clear(job)
            else:
                self.start(job)

    def start(self, job: Job) -> None:
        """Run a batch."""
        task = asyncio.create_task(self._watch(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop; the next process goes on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, job: Job) -> None:
        """Run a batch, or wait while another process of this store does."""
        while not job.has_ended:
            with try_locked(self.jobs.path(job, "lock")) as is_ours:
                job = self.jobs.find(job.owner, job.id)
                if is_ours and await self._has_ended(job):
                    return
            await asyncio.sleep(_LOOKS_EVERY_S)

    async def _has_ended(self, job: Job) -> bool:
        """Run a batch; whether it came to its end: a full disk, say, lets it wait."""
        try:
            await _Run(self._service, self.jobs, self._files, job).run()
        except Exception as error:
            log.error("batch `%s` stands still; it is tried again", job.id, exc_info=error)
            await asyncio.sleep(_AGAIN_S)
            return False
        return True


class _Run:
    """One batch, run to its end."""

    def __init__(self, service: Service, jobs: Jobs, files: Files, job: Job) -> None:
        self._service, self._jobs, self._files, self._job = service, jobs, files, job
        self._noted = 0.0

    async def run(self) -> None:
        """Go on from wherever it stands."""
        job, batch = self._job, self._job.batch
        if job.has_ended:
            return
        rows = self._jobs.path(job, "in")
        total, faults = await asyncio.to_thread(_look, rows, batch["endpoint"])
        if faults:
            data = [_as_error(fault) for fault in faults[:_MOST_FAULTS]]
            self._end("failed", errors={"object": "list", "data": data})
            return
        batch["request_counts"]["total"] = total
        self._note(status="in_progress", in_progress_at=batch.get("in_progress_at") or _now())
        with contextlib.ExitStack() as held:
            paths = [self._jobs.path(job, kind) for kind in ("out", "err")]
            opened = [await asyncio.to_thread(Output, path) for path in paths]
            out, err = (held.enter_context(each) for each in opened)
            await self._answer(out, err)
            status = self._last_status(out, err)
        self._publish(out, err)
        self._end(status)

    async def _answer(self, out: Output, err: Output) -> None:
        manner = Manner(Caller(self._job.owner, is_admin=False), _PRIORITY, is_patient=True)

        def write(line: dict[str, Any]) -> None:
            (out if is_answer(line) else err).write(line)
            if time.monotonic() - self._noted > _NOTES_EVERY_S:
                self._count(out, err)

        await run_rows(
            self._left(out.ids | err.ids, write),
            lambda row: answer_row(self._service, manner, row, self._may_wait),
            write,
            self._service.config.limits.batch_rows,
        )
        self._count(out, err)

    def _left(self, done: set[str | int], write: Write) -> Iterator[Row]:
        """The rows that are still to be asked, unless the batch was cancelled or is too old."""
        for row in read_rows(self._jobs.path(self._job, "in")):
            if row_id(row) in done or isinstance(row, Fault):
                continue
            if self._jobs.is_cancelled(self._job):
                return
            if self._is_late:
                write(unasked_line(row, "batch_expired", "the batch was not done in its time"))
            else:
                yield row

    def _last_status(self, out: Output, err: Output) -> str:
        if len(out.ids | err.ids) < self._job.batch["request_counts"]["total"]:
            return "cancelled"
        return "expired" if self._is_late else "completed"

    @property
    def _is_late(self) -> bool:
        return _now() >= int(self._job.batch["expires_at"])

    def _may_wait(self) -> bool:
        return not self._is_late and not self._jobs.is_cancelled(self._job)

    def _publish(self, out: Output, err: Output) -> None:
        """Make files of the answers and of the errors, where there are any."""
        job, batch = self._job, self._job.batch
        self._note(status="finalizing", finalizing_at=_now())
        parts = (("output", out, job.output_file_id), ("error", err, job.error_file_id))
        for name, output, file_id in parts:
            if output.ids:
                filename = f"{job.id}_{name}.jsonl"
                self._files.adopt(output.path, job.owner, filename, "batch_output", file_id)
                batch[f"{name}_file_id"] = file_id

    def _count(self, out: Output, err: Output) -> None:
        counts = self._job.batch["request_counts"]
        counts["completed"], counts["failed"] = len(out.ids), len(err.ids)
        self._note()

    def _note(self, **more: Any) -> None:  # noqa: ANN401 - of OpenAI's object
        self._job.batch.update(more)
        self._jobs.save(self._job)
        self._noted = time.monotonic()

    def _end(self, status: str, **more: Any) -> None:  # noqa: ANN401 - of OpenAI's object
        self._note(status=status, **{f"{status}_at": _now()}, **more)
        self._jobs.clear(self._job)


def _look(path: Path, endpoint: str) -> tuple[int, list[Fault]]:
    """How many rows there are, and what is wrong with them: a batch of such is not run at all."""
    found = survey(path)
    faults = [*found.faults, *found.repeated]
    for row in read_rows(path):
        if isinstance(row, Row) and row.url != endpoint:
            said = f"`url` is `{row.url}`, but the batch is for `{endpoint}`"
            faults.append(Fault(row.line, said, "url", "mismatched_url", row.custom_id))
    if not found.total:
        faults.append(Fault(1, "the file holds no row", None, "empty_file"))
    return found.total, sorted(faults, key=lambda fault: fault.line)


def _as_error(fault: Fault) -> dict[str, Any]:
    return {
        "code": fault.code,
        "line": fault.line,
        "message": fault.message,
        "param": fault.param,
    }


def _now() -> int:
    return int(time.time())
