"""Whether a receipt holds: its seal, its data, its figure, and every answer given again.

    receipt ─▶ who is asked now? ─▶ the same files? ─▶ the figure of the records
                                                   ─▶ each stored answer graded again
                                                   ─▶ samples asked again, bit by bit
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tongwen.client.client import MOST_AT_ONCE
from tongwen.errors import TongwenError
from tongwen.evals.ask import answer_json, ask
from tongwen.evals.measure import Bench, EvalConfig, chosen, figure_of, finished, make_task
from tongwen.evals.receipt import Receipt, code_digest, this_machine
from tongwen.evals.record import Record, record_of
from tongwen.evals.runs import Run, read_run
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import Task
from tongwen.version import __version__

_IDENTITY = ("weights", "adapter", "tokenizer", "template", "numerics", "is_chat")
_ABSENT = "absent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Something that is not as the receipt says."""

    what: str
    """`subject.weights`, `data`, `figure.score`, `answers` ..."""

    receipt: Any
    now: Any
    sample: str | None = None
    """Where it is of one sample: its id."""


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


def verify(path: Path, bench: Bench, again: Again, tell: Callable[[int, int], None]) -> Verdict:
    """Look whether a receipt holds, also from within a running event loop.

    Args:
        path: Of the receipt.
        bench: Who is asked; must be whom the receipt names.
        again: How much of it, and with what data.
        tell: Called with the samples done and their number.

    Raises:
        RequestError: The receipt or its samples are not there, or damaged, or the seal is broken.
    """
    return finished(lambda: _verify(path, bench, again, tell))


async def _verify(
    path: Path, bench: Bench, again: Again, tell: Callable[[int, int], None]
) -> Verdict:
    run = read_run(path, must_be_whole=False)
    differences = [*_of_subject(run.receipt, bench), *_of_file(run)]
    task, samples, told = _samples(run, bench, again)
    differences += told
    graded = asked = 0
    if task is not None:
        pairs = _pairs(samples, run.records)
        differences += _of_figure(run, task, samples)
        graded, changed = await _graded_again(task, pairs, tell)
        differences += changed
        drawn = _drawn(pairs, again)
        differences += await _asked_again(task, bench, drawn, again, tell)
        asked = len(drawn)
    return Verdict(
        path=path,
        num_samples=len(run.records),
        num_graded_again=graded,
        num_asked_again=asked,
        differences=tuple(differences),
        remarks=tuple(_remarks(run.receipt, bench)),
    )


# ---- what is compared before anything is asked


def _of_subject(receipt: Receipt, bench: Bench) -> list[Difference]:
    then, now = receipt.subject.to_json(), bench.subject.to_json()
    return [
        Difference(what=f"subject.{name}", receipt=then[name], now=now[name])
        for name in _IDENTITY
        if then[name] != now[name] and not _is_untold(name, then, now)
    ]


def _is_untold(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """An endpoint does not tell its digests; that there is no adapter is told."""
    return name != "adapter" and None in (then[name], now[name])


def _remarks(receipt: Receipt, bench: Bench) -> list[Difference]:
    then, now = receipt.subject.to_json(), bench.subject.to_json()
    untold = [
        Difference(what=f"subject.{name}", receipt=then[name], now=now[name])
        for name in _IDENTITY
        if then[name] != now[name] and _is_untold(name, then, now)
    ]
    made = {"code": receipt.code, "version": receipt.version, **receipt.machine}
    here = {"code": code_digest(), "version": __version__, **this_machine()}
    return untold + _unequal("", made, here)


def _of_file(run: Run) -> list[Difference]:
    found = []
    if not run.is_whole:
        found.append(
            Difference(what="samples file", receipt=run.receipt.samples_sha256, now="another")
        )
    counts = {
        "num_samples": (run.receipt.num_samples, len(run.records)),
        "num_failed": (run.receipt.num_failed, len(run.records) - len(run.graded)),
    }
    return found + [
        Difference(what=what, receipt=then, now=now)
        for what, (then, now) in counts.items()
        if then != now
    ]


def _samples(
    run: Run, bench: Bench, again: Again
) -> tuple[Task | None, list[Sample], list[Difference]]:
    """The benchmark as the receipt ran it, its samples, and what is amiss with its data."""
    settings = run.receipt.settings
    config = EvalConfig(
        data=again.data,
        out=run.path.parent,
        preset=settings.preset,
        limit=settings.limit,
        shots=settings.shots,
        n=settings.n,
        temperature=settings.temperature,
        seed=settings.seed,
    )
    as_it_was = replace(bench.subject, is_chat=run.receipt.subject.is_chat)
    try:
        task = make_task(settings.task, replace(bench, subject=as_it_was), config)
        samples = chosen(task.samples(), settings.limit, settings.seed)
    except TongwenError as error:
        return None, [], [Difference(what="benchmark", receipt=settings.task, now=error.message)]
    found = _unequal("data ", run.receipt.data, task.setup.data.digests)
    return task, samples, found + _of_ids(samples, run.records)


def _of_ids(samples: Sequence[Sample], records: Sequence[Record]) -> list[Difference]:
    """Samples that should have been asked and were not, and the other way round."""
    wanted, there = [each.id for each in samples], [each.id for each in records]
    if wanted == there:
        return []
    lacking = [id_ for id_ in wanted if id_ not in set(there)]
    strange = [id_ for id_ in there if id_ not in set(wanted)]
    found = [Difference(what="record", receipt=_ABSENT, now="wanted", sample=x) for x in lacking]
    found += [Difference(what="record", receipt="there", now="unknown", sample=x) for x in strange]
    return found or [Difference(what="order of samples", receipt=there[:3], now=wanted[:3])]


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
        found += _unequal(f"figure.{name} ", then[name], now[name])
    return found


# ---- judged again


async def _graded_again(
    task: Task, pairs: Sequence[tuple[Sample, Record]], tell: Callable[[int, int], None]
) -> tuple[int, list[Difference]]:
    """Stored answers judged once more; where a model judges, that is part of asking again."""
    if "judge" in task.about.needs:
        return 0, []
    graded, found = 0, []
    for done, (sample, record) in enumerate(pairs):
        tell(done, len(pairs))
        if record.failed is None:
            found += await _regraded(task, sample, record)
            graded += 1
    return graded, found


async def _regraded(task: Task, sample: Sample, record: Record) -> list[Difference]:
    try:
        grades = [await task.grade(sample, answer) for answer in record.answers]
    except TongwenError as error:
        return [Difference(what="grading", receipt="done", now=error.message, sample=sample.id)]
    return _of_grades("stored answer's ", sample.id, record.grades, grades)


def _of_grades(
    whose: str, id_: str, then: Sequence[Grade], now: Sequence[Grade]
) -> list[Difference]:
    if len(then) != len(now):
        return [Difference(what=f"{whose}grades", receipt=len(then), now=len(now), sample=id_)]
    found = []
    for before, after in zip(then, now, strict=True):
        for name in ("score", "parsed", "metrics"):
            old, new = getattr(before, name), getattr(after, name)
            if old != new:
                found.append(Difference(what=f"{whose}{name}", receipt=old, now=new, sample=id_))
    return found


# ---- asked again


def _drawn(
    pairs: Sequence[tuple[Sample, Record]], again: Again
) -> list[tuple[Sample, Record]]:
    if again.num_samples == 0:
        return []
    names = {each.id for each in chosen([each for each, _ in pairs], again.num_samples, again.seed)}
    return [pair for pair in pairs if pair[0].id in names]


async def _asked_again(
    task: Task,
    bench: Bench,
    drawn: Sequence[tuple[Sample, Record]],
    again: Again,
    tell: Callable[[int, int], None],
) -> list[Difference]:
    places, done = asyncio.Semaphore(again.concurrency), 0

    async def one(sample: Sample, record: Record) -> list[Difference]:
        nonlocal done
        async with places:
            found = await _same_again(task, bench, sample, record)
        done += 1
        tell(done, len(drawn))
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*pair)) for pair in drawn]
    return [each for finished_task in tasks for each in finished_task.result()]


async def _same_again(
    task: Task, bench: Bench, sample: Sample, record: Record
) -> list[Difference]:
    try:
        asked = await ask(bench.client, task.question(sample))
        grades = [await task.grade(sample, answer) for answer in asked.answers]
    except TongwenError as error:
        if record.failed is not None:
            return []
        return [Difference(what="failed", receipt=None, now=error.message, sample=sample.id)]
    if record.failed is not None:
        return [Difference(what="failed", receipt=record.failed, now=None, sample=sample.id)]
    return _of_records(record, record_of(sample, asked, grades))


def _of_records(then: Record, now: Record) -> list[Difference]:
    """What is not the same, to the bit, in a sample that was asked again."""
    found = []
    if then.prompt_digest != now.prompt_digest:
        found.append(_of_sample(then, "prompt", then.prompt_digest, now.prompt_digest))
    if then.prompt != now.prompt and then.prompt_digest == now.prompt_digest:
        found.append(_of_sample(then, "prompt's text", then.prompt, now.prompt))
    if then.group != now.group:
        found.append(_of_sample(then, "group", then.group, now.group))
    before, after = ([answer_json(each) for each in record.answers] for record in (then, now))
    if len(before) != len(after):
        found.append(_of_sample(then, "answers", len(before), len(after)))
    for old, new in zip(before, after, strict=False):
        found += [
            _of_sample(then, name, old.get(name, _ABSENT), new.get(name, _ABSENT))
            for name in {**old, **new}
            if old.get(name) != new.get(name) and not _tells_no_ids(name, old, new)
        ]
    return found + _of_grades("", then.id, then.grades, now.grades)


def _tells_no_ids(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Where an endpoint does not tell ids, texts are compared alone."""
    return name == "token_ids" and (name not in old or name not in new)


def _of_sample(record: Record, what: str, then: object, now: object) -> Difference:
    return Difference(what=what, receipt=then, now=now, sample=record.id)


# ---- small things


def _unequal(prefix: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    names = [*then, *(name for name in now if name not in then)]
    return [
        Difference(
            what=f"{prefix}{name}", receipt=then.get(name, _ABSENT), now=now.get(name, _ABSENT)
        )
        for name in names
        if then.get(name, _ABSENT) != now.get(name, _ABSENT)
    ]


def _said(each: Difference) -> str:
    where = "" if each.sample is None else f"sample {_short(each.sample)}: "
    return f"{where}{_short(each.what)}: {_short(each.receipt)} in the receipt, {_short(each.now)} now"


def _short(value: object) -> str:
    return value
