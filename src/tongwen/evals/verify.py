"""Whether a receipt holds: its seal, its data, its figure, and every answer given again.

receipt ─▶ who is asked now? ─▶ the same files? ─▶ the figure of the records
                                               ─▶ each stored answer graded again
                                               ─▶ samples asked again, bit by bit
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tongwen.client.client import MOST_AT_ONCE, Client
from tongwen.errors import TongwenError
from tongwen.evals.ask import ask
from tongwen.evals.catalogue import task_named
from tongwen.evals.differences import (
    Difference,
    of_file,
    of_grades,
    of_ids,
    of_judge,
    of_records,
    of_stored,
    of_subject,
    remarks,
    unequal,
)
from tongwen.evals.fetch import from_hub
from tongwen.evals.measure import bench_for, finished
from tongwen.evals.receipt import Receipt
from tongwen.evals.record import Record, line_of, record_from, record_of
from tongwen.evals.runs import Run, read_run
from tongwen.evals.sample import Sample
from tongwen.evals.seeds import question_of
from tongwen.evals.subject import STORED
from tongwen.evals.target import Target
from tongwen.evals.task import Setup, Task
from tongwen.evals.trial import Bench, chosen, figure_of
from tongwen.evals.wording import short
from tongwen.judge.benchmarks import Benchmarks
from tongwen.judge.sandbox import Sandbox

Tell = Callable[[int, int], None]
"""Told how many of how many samples are done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came of a verification."""

    path: Path
    num_samples: int
    num_graded_again: int
    """Stored answers that were judged once more."""

    num_asked_again: int
    differences: tuple[Difference, ...]
    """In what must be the same; empty: the receipt holds."""

    remarks: tuple[Difference, ...]
    """In what may move a figure and did not have to: code, version, libraries."""

    @property
    def holds(self) -> bool:
        """Whether everything that was looked at is as the receipt says."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "path": self.path.name, "holds": self.holds}

    def text(self) -> str:
        """For a terminal."""
        said = "holds" if self.holds else f"does not hold: {len(self.differences)} differences"
        lines = [
            f"{self.path.name} {said}",
            f"  {self.num_samples} samples, {self.num_graded_again} graded again, "
            f"{self.num_asked_again} asked again",
            *(f"  differs  {_said(each)}" for each in self.differences),
            *(f"  remark   {_said(each)}" for each in self.remarks),
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """How a receipt is looked at."""

    data: Path | None = None
    """Directory that holds the benchmark's files; `None`: fetched."""

    num_samples: int | None = None
    """Asked again, drawn by the seed; `None`: all, 0: none."""

    seed: int = 0
    concurrency: int = MOST_AT_ONCE
    """Samples in the model's hands at once; may be another than in the run."""


def verify(
    path: Path,
    target: Target | None,
    again: Again,
    *,
    judge: Target | None = None,
    tell: Tell = lambda _done, _total: None,
) -> Verdict:
    """Look whether a receipt holds; also within a running event loop.

    Args:
        path: Of the receipt.
        target: Whom it names; asked as the receipt says, in turns or not.  `None`: nobody is asked,
            what was answered is graded again.
        again: How much of it is looked at, and with what data.
        judge: Who gives the verdicts, where the benchmark wants a judge.
        tell: Called after each sample.

    Raises:
        TongwenError: The model, the receipt or its samples are not there, or the seal is broken.
    """
    run = read_run(path, must_be_whole=False)
    task = run.receipt.settings.task

    async def look() -> Verdict:
        if target is None:
            with _sandbox(task) as sandbox:
                return await verify_run(run, None, again, tell, sandbox=sandbox)
        asked = replace(target, is_chat=run.receipt.subject.is_chat)
        async with bench_for([task], asked, judge) as bench:
            return await verify_run(run, bench, again, tell, sandbox=bench.sandbox)

    return finished(look)


@contextlib.contextmanager
def _sandbox(task: str) -> Iterator[Sandbox | None]:
    if "sandbox" not in task_named(task).about.needs:
        yield None
        return
    with Sandbox() as sandbox:
        yield sandbox


async def verify_run(
    run: Run, bench: Bench | None, again: Again, tell: Tell, *, sandbox: Sandbox | None
) -> Verdict:
    """Look whether a run's receipt holds.

    Args:
        run: Read without insisting that it is whole.
        bench: Who is asked, who judges; `None`: nobody.
        again: How much of it is looked at, and with what data.
        tell: Called after each sample.
        sandbox: Where programs run, where the benchmark runs any.
    """
    receipt = run.receipt
    now = receipt.subject if bench is None else bench.subject
    differences = [*of_subject(receipt.subject, now), *of_file(run)]
    task, samples, told = _samples(run, again, sandbox, None if bench is None else bench.judge)
    differences += told
    num_graded = num_asked = 0
    if task is not None:
        pairs = _pairs(samples, run.records)
        differences += _of_figure(run, task, samples)
        num_graded, changed = await _graded_again(task, pairs)
        differences += changed
        drawn = [] if bench is None else _drawn(pairs, again)
        if bench is not None:
            differences += _of_judge(task, receipt, bench, is_asked=bool(drawn))
            differences += await _asked_again(task, bench, drawn, again.concurrency, tell)
        num_asked = len(drawn)
    return Verdict(
        path=run.path,
        num_samples=len(run.records),
        num_graded_again=num_graded,
        num_asked_again=num_asked,
        differences=tuple(differences),
        remarks=tuple(remarks(receipt, now, None if bench is None else bench.judged_by)),
    )


def _samples(
    run: Run, again: Again, sandbox: Sandbox | None, judge: Client | None
) -> tuple[Task | None, list[Sample], list[Difference]]:
    """The benchmark as the receipt ran it, its samples, and what is amiss with its data."""
    settings = run.receipt.settings
    try:
        task = task_named(settings.task)(
            Setup(
                data=Benchmarks(again.data, from_hub(task_named(settings.task).about.hub)),
                preset=settings.preset,
                is_chat=run.receipt.subject.is_chat,
                continues_answers=run.receipt.subject.continues_answers,
                shots=settings.shots,
                n=settings.n,
                temperature=settings.temperature,
                seed=settings.seed,
                sandbox=sandbox,
                judge=judge,
            )
        )
        whole = task.samples()
    except TongwenError as error:
        return None, [], [Difference(what="benchmark", receipt=settings.task, now=error.message)]
    samples = _of_run(run, whole)
    found = unequal("data ", run.receipt.data, task.setup.data.digests)
    return task, samples, found + of_stored(run, len(whole)) + of_ids(samples, run.records)


def _of_run(run: Run, whole: list[Sample]) -> list[Sample]:
    """The samples that a run should have; under a limit a file of completions chooses its own."""
    settings = run.receipt.settings
    if run.receipt.subject.where != STORED or settings.limit is None:
        return chosen(whole, settings.limit, settings.seed)
    there = {record.id for record in run.records}
    return [sample for sample in whole if sample.id in there]


def _of_judge(task: Task, receipt: Receipt, bench: Bench, *, is_asked: bool) -> list[Difference]:
    """Whether who judges now is who judged then; nobody need, where no verdict is wanted."""
    if not task.is_judged:
        return []
    if bench.judged_by is not None:
        return of_judge(receipt.settings, bench.judged_by)
    if is_asked and bench.judge is None:
        return [Difference(what="judge", receipt=receipt.settings.judge, now=None)]
    return []


def _pairs(samples: Sequence[Sample], records: Sequence[Record]) -> list[tuple[Sample, Record]]:
    by_id = {record.id: record for record in records}
    return [(sample, by_id[sample.id]) for sample in samples if sample.id in by_id]


def _of_figure(run: Run, task: Task, samples: Sequence[Sample]) -> list[Difference]:
    """The figure of the records, which must be the receipt's to the last bit."""
    pairs = _pairs(samples, run.records)
    try:
        now = asdict(figure_of(task, [each for each, _ in pairs], [each for _, each in pairs]))
    except TongwenError as error:
        return [Difference(what="figure", receipt=run.receipt.figure.score, now=error.message)]
    then = asdict(run.receipt.figure)
    found = [
        Difference(what=f"figure.{name}", receipt=then[name], now=now[name])
        for name in ("score", "stderr")
        if then[name] != now[name]
    ]
    for name in ("metrics", "groups"):
        found += unequal(f"figure.{name} ", then[name], now[name])
    return found


# ---- judged again


async def _graded_again(
    task: Task, pairs: Sequence[tuple[Sample, Record]]
) -> tuple[int, list[Difference]]:
    """Stored answers judged once more; where a model judges, that is part of asking again.

    Of samples that failed too: an answer that can be graded is no failure.
    """
    if task.is_judged:
        return 0, []
    there = [(sample, record) for sample, record in pairs if record.answers]
    found = [await _regraded(task, sample, record) for sample, record in there]
    return len(there), [each for some in found for each in some]


async def _regraded(task: Task, sample: Sample, record: Record) -> list[Difference]:
    try:
        grades = [await task.grade(sample, answer) for answer in record.answers]
    except TongwenError as error:
        if record.failed is not None:
            return []
        return [Difference(what="grading", receipt="done", now=error.message, sample=sample.id)]
    if record.failed is not None:
        return [Difference(what="failed", receipt=record.failed, now=None, sample=sample.id)]
    return of_grades("stored answer's ", sample.id, record.grades, grades)


# ---- asked again


def _drawn(pairs: Sequence[tuple[Sample, Record]], again: Again) -> list[tuple[Sample, Record]]:
    if again.num_samples == 0:
        return []
    names = {each.id for each in chosen([each for each, _ in pairs], again.num_samples, again.seed)}
    return [pair for pair in pairs if pair[0].id in names]


async def _asked_again(
    task: Task,
    bench: Bench,
    drawn: Sequence[tuple[Sample, Record]],
    concurrency: int,
    tell: Tell,
) -> list[Difference]:
    places, done = asyncio.Semaphore(concurrency), 0

    async def one(sample: Sample, record: Record) -> list[Difference]:
        nonlocal done
        async with places:
            found = await _same_again(task, bench, sample, record)
        done += 1
        tell(done, len(drawn))
        return found

    async with asyncio.TaskGroup() as group:
        works = [group.create_task(one(*pair)) for pair in drawn]
    return [each for work in works for each in work.result()]


async def _same_again(task: Task, bench: Bench, sample: Sample, record: Record) -> list[Difference]:
    try:
        asked = await ask(bench.client, question_of(task, sample))
        grades = [await task.grade(sample, answer) for answer in asked.answers]
    except TongwenError as error:
        if record.failed is not None:
            return []
        return [Difference(what="failed", receipt=None, now=error.message, sample=sample.id)]
    if record.failed is not None:
        return [Difference(what="failed", receipt=record.failed, now=None, sample=sample.id)]
    return of_records(record, _as_kept(record_of(sample, asked, grades)))


def _as_kept(record: Record) -> Record:
    """As it is after it was written and read."""
    return record_from(json.loads(line_of(record.to_json())))


def _said(each: Difference) -> str:
    where = "" if each.sample is None else f"sample {short(each.sample)}: "
    values = f"{short(each.receipt, 80)} in the receipt, {short(each.now, 80)} now"
    return f"{where}{short(each.what)}: {values}"
