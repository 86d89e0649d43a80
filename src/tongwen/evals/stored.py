"""Grading what a model wrote some time ago: no model, the same judges."""

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongwen.errors import RequestError, TongwenError
from tongwen.evals.catalogue import task_named
from tongwen.evals.examine import Progress, Tell
from tongwen.evals.fetch import from_hub
from tongwen.evals.question import Answer, Generate
from tongwen.evals.receipt import file_digest
from tongwen.evals.record import Record
from tongwen.evals.sample import Sample
from tongwen.evals.subject import STORED, Subject
from tongwen.evals.task import Setup, Task
from tongwen.evals.trial import EvalConfig, Result, figure_of, issue, settings_of
from tongwen.judge.benchmarks import Benchmarks
from tongwen.judge.sandbox import Sandbox

_IDS, _TEXTS = ("task_id", "id", "doc_id"), ("completion", "text", "output", "response")


async def grade_stored(name: str, completions: Path, config: EvalConfig, tell: Tell) -> Result:
    """The figure of completions in a file: a JSON object a line, with `task_id` and `completion`.

    Several lines of one sample are several completions of it.

    Raises:
        RequestError: The file is damaged, names samples that there are not, or completes another
            number than `config.limit` says; all without a limit.
    """
    started = time.monotonic()
    kind = task_named(name)
    with contextlib.ExitStack() as stack:
        needs = kind.about.needs
        if "judge" in needs:
            raise RequestError(f"`{name}` is judged by a model: run it with one")
        sandbox = stack.enter_context(Sandbox()) if "sandbox" in needs else None
        task = kind(
            Setup(
                data=Benchmarks(config.data, from_hub(kind.about.hub)),
                preset=config.preset or next(iter(kind.about.presets)),
                is_chat=True,
                shots=config.shots,
                sandbox=sandbox,
            )
        )
        texts = _texts(completions)
        samples = _named(task.samples(), texts, completions, config)
        progress = Progress(name, len(samples))

        places = asyncio.Semaphore(config.concurrency)

        async def one(sample: Sample) -> Record:
            async with places:
                record = await _graded(task, sample, texts[sample.id])
            progress.note(record)
            tell(progress)
            return record

        records = list(await asyncio.gather(*(one(sample) for sample in samples)))
    return issue(
        settings=replace(settings_of(name, task, config), n=max(map(len, texts.values()))),
        subject=_subject(completions),
        figure=figure_of(task, samples, records),
        records=records,
        data=task.setup.data.digests,
        out=config.out,
        seconds=time.monotonic() - started,
    )


async def _graded(task: Task, sample: Sample, texts: list[str]) -> Record:
    if not isinstance(task.question(sample), Generate):
        raise RequestError(f"`{task.about.title}` weighs options: it has no completions")
    answers = tuple(Answer(turns=(text,)) for text in texts)
    try:
        grades = [await task.grade(sample, answer) for answer in answers]
    except TongwenError as error:
        return Record(id=sample.id, group=sample.group, answers=answers, failed=error.message)
    return Record(id=sample.id, group=sample.group, answers=answers, grades=tuple(grades))


def _named(
    samples: list[Sample], texts: Mapping[str, list[str]], path: Path, config: EvalConfig
) -> list[Sample]:
    """The samples that the file has completions of: all, or as many as the limit says."""
    known = {sample.id for sample in samples}
    if strange := [name for name in texts if name not in known]:
        raise RequestError(
            f"`{path}` completes `{strange[0]}`, which is no sample of the benchmark",
            hint=f"they are called like `{samples[0].id}`",
        )
    found = [sample for sample in samples if sample.id in texts]
    wanted = len(samples) if config.limit is None else min(config.limit, len(samples))
    if len(found) != wanted:
        raise RequestError(
            f"`{path}` completes {len(found)} of {len(samples)} samples, wanted are {wanted}",
            hint=f"--limit {len(found)} grades those alone, which the receipt then says",
        )
    return found


def _texts(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"`{path}` cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            name, text = _completion(path, number, line)
            found[name].append(text)
    if not found:
        raise RequestError(f"`{path}` holds no completion")
    return dict(found)


def _completion(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise RequestError(f"line {number} of `{path}` is no JSON: {error}") from error
    fields = row if isinstance(row, dict) else {}
    names = [fields[name] for name in _IDS if name in fields]
    texts = [fields[name] for name in _TEXTS if isinstance(fields.get(name), str)]
    if not names or not texts:
        raise RequestError(
            f"line {number} of `{path}` names no sample, or holds no completion",
            hint='{"task_id": "HumanEval/0", "completion": "..."}',
        )
    return str(names[0]), texts[0]


def _subject(path: Path) -> Subject:
    return Subject(
        name=path.stem,
        where=STORED,
        weights=file_digest(path),
        tokenizer=None,
        template=None,
        numerics=None,
        is_chat=True,
    )
