"""What the tests of ranked benchmarks share: files of own rows, and answers that a model gives."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tongwen.evals.question import Answer, Generate, Likelihood, Rank
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import Setup, Task
from tongwen.judge.benchmarks import Benchmarks


def lay(root: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows where a benchmark looks for them."""
    path = root / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def task_of(
    kind: type[Task],
    root: Path,
    preset: str = "qwen2-report",
    *,
    is_chat: bool = False,
    **more: Any,
) -> Task:
    """A benchmark over the files below `root`."""
    return kind(Setup(data=Benchmarks(root), preset=preset, is_chat=is_chat, **more))


def pairs_of(task: Task, sample: Sample) -> list[tuple[str, str]]:
    """What is weighed."""
    question = task.question(sample)
    assert isinstance(question, Rank)
    return list(question.pairs)


def ranked(task: Task, sample: Sample, logprobs: Sequence[float]) -> Grade:
    """The grade where the pairs are so likely."""
    likelihoods = tuple(Likelihood(logprob=one, num_tokens=1) for one in logprobs)
    return asyncio.run(task.grade(sample, Answer(likelihoods=likelihoods)))


def prefers(task: Task, sample: Sample, place: int) -> Grade:
    """The grade where the pair at `place` is by far the likeliest."""
    count = len(pairs_of(task, sample))
    return ranked(task, sample, [-0.1 if one == place else -900.0 for one in range(count)])


def said(task: Task, sample: Sample, text: str) -> Grade:
    """The grade of what a chat model writes."""
    return asyncio.run(task.grade(sample, Answer(turns=(text,))))


def whole(task: Task, count: int) -> list[Sample]:
    """The samples, of which each has its own id, a question, one right and only wrong others."""
    samples = task.samples()
    assert len(samples) == count
    assert len({sample.id for sample in samples}) == count
    for sample in samples:
        assert all(context + text for context, text in pairs_of(task, sample))
        assert sample.row not in sample.shots or task.setup.preset == "harness"
    for sample in samples[:: max(1, count // 50)]:
        scores = [
            prefers(task, sample, place).score for place in range(len(pairs_of(task, sample)))
        ]
        assert sorted(set(scores)) in ([0.0, 1.0], [1.0])
        assert sum(scores) >= 1
    return samples


def turns_of(task: Task, sample: Sample) -> list[Mapping[str, Any]]:
    """What a chat model is told."""
    question = task.question(sample)
    assert isinstance(question, Generate)
    assert not isinstance(question.prompt, str)
    return list(question.prompt)
