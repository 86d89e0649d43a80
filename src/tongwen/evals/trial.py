"""One benchmark on one model, with its figure and its receipt."""

import hashlib
import json
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tongwen.client.client import MOST_AT_ONCE, Client
from tongwen.errors import RequestError
from tongwen.evals.catalogue import task_named
from tongwen.evals.examine import Progress, Tell, examine, progress_of
from tongwen.evals.fetch import from_hub
from tongwen.evals.figure import Figure
from tongwen.evals.journal import Journal, write_records
from tongwen.evals.receipt import Receipt, Settings, code_digest, file_digest, this_machine
from tongwen.evals.record import Record
from tongwen.evals.runs import read_run
from tongwen.evals.sample import Sample
from tongwen.evals.subject import Subject
from tongwen.evals.task import Setup, Task
from tongwen.judge.benchmarks import Benchmarks
from tongwen.judge.sandbox import Sandbox
from tongwen.version import __version__

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """How benchmarks are run."""

    data: Path | None = None
    """Directory that holds the benchmarks' files; `None`: fetched."""

    out: Path
    """Directory of receipts and samples."""

    preset: str | None = None
    """The published way to run them; `None`: each benchmark's first."""

    limit: int | None = None
    """Samples, drawn by the seed; `None`: all of them."""

    shots: int | None = None
    """Solved rows before each sample; `None`: as the preset says."""

    n: int = 1
    """Completions of each sample."""

    temperature: float = 0.0
    seed: int = 0
    concurrency: int = MOST_AT_ONCE
    """Samples in the model's hands at once; changes no figure."""

    again: bool = False
    """Ask what an earlier run had done too."""

    def __post_init__(self) -> None:
        for name in ("limit", "n", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"`{name}` must be at least 1, not {value}")
        if self.shots is not None and self.shots < 0:
            raise RequestError(f"`shots` must be at least 0, not {self.shots}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Who is measured, by whose judgement."""

    client: Client
    subject: Subject
    sandbox: Sandbox | None = None
    judge: Client | None = None
    judged_by: Subject | None = None
    """Who the judge is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A benchmark that was run."""

    receipt: Receipt
    path: Path
    """Where the receipt lies."""

    records: list[Record] = field(repr=False)
    """Every sample."""

    not_run: tuple[str, ...] = ()
    """What of the benchmark was left out, and why."""

    was_done: bool = False
    """Whether an earlier run had done all of it, and nothing was asked."""

    @property
    def figure(self) -> Figure:
        """What it came to."""
        return self.receipt.figure


async def run_task(name: str, bench: Bench, config: EvalConfig, tell: Tell) -> Result:
    """Run one benchmark; what an earlier run of the same settings did is not done again.

    Where that was all of it, its receipt is the result.

    Raises:
        RequestError: The benchmark, the preset or its data is not there; or no sample was graded.
    """
    started = time.monotonic()
    task = make_task(name, bench, config)
    settings = settings_of(name, task, config, bench.judged_by)
    samples = chosen(task.samples(), config.limit, config.seed)
    data = dict(task.setup.data.digests)
    key = _key(settings, bench.subject, data, code_digest())
    stem = _stem(settings, bench.subject, key)
    if done := _earlier(config, stem, key, samples):
        tell(progress_of(name, done.records))
        return replace(done, not_run=task.not_run())
    with Journal(_begun(config, stem), key) as journal:
        records = await examine(
            task,
            bench.client,
            samples,
            journal,
            progress=Progress(name, len(samples)),
            concurrency=config.concurrency,
            tell=tell,
        )
    figure = figure_of(task, samples, records)
    seconds = time.monotonic() - started
    result = issue(
        settings=settings,
        subject=bench.subject,
        figure=figure,
        records=records,
        data=data,
        out=config.out,
        seconds=seconds,
    )
    if not result.receipt.num_failed:  # else the journal lets the next run ask those alone
        journal.path.unlink()
    return replace(result, not_run=task.not_run())


def _begun(config: EvalConfig, stem: str) -> Path:
    return config.out / f"{stem}.partial.jsonl"


def _earlier(config: EvalConfig, stem: str, key: str, samples: Sequence[Sample]) -> Result | None:
    """What an earlier run came to, unless a later one is under way, or one is wanted."""
    if config.again:
        _begun(config, stem).unlink(missing_ok=True)
    if config.again or _begun(config, stem).exists():
        return None
    done = _done(config.out / f"{stem}.receipt.json", key, samples)
    asked = () if done is None else (done.receipt.subject, done.receipt.settings.judged_by)
    for each in asked:
        if done is not None and each is not None and each.weights is None:
            log.warning(
                "`%s` does not tell whether it serves the same weights as when `%s` was written; "
                "--again asks it again",
                *(each.where, done.path.name),
            )
    return done


def _done(path: Path, key: str, samples: Sequence[Sample]) -> Result | None:
    """What an earlier run came to; `None`: there is none, or not all of it can be taken as it is.

    Other libraries than then might judge otherwise; what failed is asked again.
    """
    if not path.exists():
        return None
    try:
        run = read_run(path)
    except RequestError as error:
        log.warning("%s: it is made anew", error.message)
        return None
    receipt = run.receipt
    made = receipt.version, receipt.machine, receipt.num_failed, [each.id for each in run.records]
    wanted = __version__, this_machine(), 0, [each.id for each in samples]
    if made != wanted or key != _key(receipt.settings, receipt.subject, receipt.data, receipt.code):
        return None
    return Result(receipt=receipt, path=path, records=run.records, was_done=True)


def issue(
    *,
    settings: Settings,
    subject: Subject,
    figure: Figure,
    records: list[Record],
    data: Mapping[str, str],
    out: Path,
    seconds: float,
) -> Result:
    """Write the samples and the receipt of a run that is over."""
    code = code_digest()
    stem = _stem(settings, subject, _key(settings, subject, data, code))
    kept = out / f"{stem}.samples.jsonl"
    write_records(kept, records)
    receipt = Receipt(
        settings=settings,
        subject=subject,
        figure=figure,
        num_samples=len(records),
        num_failed=sum(record.failed is not None for record in records),
        data=data,
        code=code,
        samples_file=kept.name,
        samples_sha256=file_digest(kept),
        machine=this_machine(),
        seconds=round(seconds, 3),
    )
    path = out / f"{stem}.receipt.json"
    receipt.write(path)
    return Result(receipt=receipt, path=path, records=records)


def make_task(name: str, bench: Bench, config: EvalConfig) -> Task:
    """A benchmark with what it works with.

    Raises:
        RequestError: There is none of that name, or it has no such preset.
    """
    kind = task_named(name)
    return kind(
        Setup(
            data=Benchmarks(config.data, from_hub(kind.about.hub)),
            preset=config.preset or next(iter(kind.about.presets)),
            is_chat=bench.subject.is_chat,
            continues_answers=bench.subject.continues_answers,
            shots=config.shots,
            n=config.n,
            temperature=config.temperature,
            seed=config.seed,
            sandbox=bench.sandbox,
            judge=bench.judge,
        )
    )


def chosen(samples: list[Sample], limit: int | None, seed: int) -> list[Sample]:
    """As many samples, drawn by the seed, in the order of the file; fewer are among more."""
    ids = {sample.id for sample in samples}
    assert len(ids) == len(samples), "a sample is told from all others by its id"
    if limit is None or limit >= len(samples):
        return samples
    order = list(range(len(samples)))
    random.Random(seed).shuffle(order)
    return [samples[place] for place in sorted(order[:limit])]


def figure_of(task: Task, samples: Sequence[Sample], records: Sequence[Record]) -> Figure:
    """The figure of what was graded.

    Raises:
        RequestError: Nothing was.
    """
    pairs = zip(samples, records, strict=True)
    graded = [record.graded(sample) for sample, record in pairs if record.failed is None]
    if not graded:
        raise RequestError(
            f"not one of {len(records)} samples of `{task.about.title}` was graded: "
            f"{records[0].failed if records else 'there are none'}"
        )
    return task.figure(graded)


def settings_of(
    name: str, task: Task, config: EvalConfig, judged_by: Subject | None = None
) -> Settings:
    """What a receipt says that was asked for; of the judge only where there are verdicts.

    Raises:
        RequestError: The benchmark cannot do without a judge, and there is none.
    """
    runs_programs = "sandbox" in task.about.needs
    return Settings(
        task=name,
        preset=task.setup.preset,
        shots=task.num_shots,
        limit=config.limit,
        seed=config.seed,
        n=config.n,
        temperature=config.temperature,
        judge=task.judge.model if task.is_judged else None,
        judged_by=judged_by if task.is_judged else None,
        sandbox=task.sandbox.kind if runs_programs else None,
    )


def _key(settings: Settings, subject: Subject, data: Mapping[str, str], code: str) -> str:
    whole = json.dumps([asdict(settings), subject.to_json(), dict(data), code], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def _stem(settings: Settings, subject: Subject, key: str) -> str:
    return "-".join((settings.task, settings.preset, _plain(subject.name), key[:8]))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", Path(name).name)[:60]
