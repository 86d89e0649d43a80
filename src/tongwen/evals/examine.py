"""Running a benchmark: every sample asked, graded, written down."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tongwen.client.client import Client
from tongwen.errors import TongwenError
from tongwen.evals.ask import ask
from tongwen.evals.journal import Journal
from tongwen.evals.record import Record, record_of
from tongwen.evals.sample import Sample
from tongwen.evals.seeds import question_of
from tongwen.evals.task import Task

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """How far a run is."""

    name: str
    total: int
    before: int = 0
    """Samples that an earlier run had done."""

    done: int = 0
    failed: int = 0
    sum: float = 0.0
    """Of the scores so far."""

    started_s: float = field(default_factory=time.monotonic)

    @property
    def score(self) -> float | None:
        """The mean so far, over samples; `None`: nothing is graded yet."""
        graded = self.done - self.failed
        return self.sum / graded if graded else None

    @property
    def left_s(self) -> float | None:
        """Seconds that are left at the speed so far; `None`: too early to tell."""
        new = self.done - self.before
        if not new:
            return None
        return (time.monotonic() - self.started_s) / new * (self.total - self.done)

    def note(self, record: Record) -> None:
        """Count a sample."""
        self.done += 1
        if record.failed is not None:
            self.failed += 1
        else:
            self.sum += sum(grade.score for grade in record.grades) / len(record.grades)


def progress_of(name: str, records: Sequence[Record]) -> Progress:
    """Of a run that was done before."""
    progress = Progress(name, len(records), before=len(records))
    for record in records:
        progress.note(record)
    return progress


Tell = Callable[[Progress], None]


async def examine(
    task: Task,
    client: Client,
    samples: Sequence[Sample],
    journal: Journal,
    *,
    progress: Progress,
    concurrency: int,
    tell: Tell,
) -> list[Record]:
    """The records of all samples, in their order.

    Args:
        task: The benchmark.
        client: Reaches the model.
        samples: What is asked.
        journal: Holds what was done before, and gets what is done now.
        progress: Counts.
        concurrency: Samples in the model's hands at once.
        tell: Called after each sample.
    """
    places = Places(concurrency)
    records = dict(journal.records)
    for sample in samples:
        if sample.id in records:
            progress.before += 1
            progress.note(records[sample.id])
    tell(progress)

    async def one(sample: Sample) -> None:
        record = await _record(task, client, sample, places)
        journal.add(record)
        records[sample.id] = record
        progress.note(record)
        tell(progress)

    async with asyncio.TaskGroup() as group:
        for sample in samples:
            if sample.id not in records:
                group.create_task(one(sample))
    return [records[sample.id] for sample in samples]


class Places:
    """How many samples are in the model's hands at once, and how many in the judges'.

    Args:
        number: Of each.
    """

    def __init__(self, number: int) -> None:
        self.asking = asyncio.Semaphore(number)
        self.judging = asyncio.Semaphore(number)


async def _record(task: Task, client: Client, sample: Sample, places: Places) -> Record:
    try:
        async with places.asking:
            asked = await ask(client, question_of(task, sample))
        async with places.judging:
            grades = [await task.grade(sample, answer) for answer in asked.answers]
        record = record_of(sample, asked, grades)
        record.to_line()  # what cannot be written down is a failure of this sample alone
    except TongwenError as error:
        said = error.message if error.hint is None else f"{error.message} ({error.hint})"
        return Record(id=sample.id, group=sample.group, failed=said)
    except Exception as error:
        # Models write what nobody thought of: a fault of ours costs one sample, and is counted.
        log.exception("a fault of Tongwen's at sample `%s`", sample.id)
        return Record(id=sample.id, group=sample.group, failed=f"a fault of ours: {error!r}")
    return record
