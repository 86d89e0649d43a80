"""What the tests of benchmarks share: files of a few rows of our own, and answers to grade."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tongwen.evals.question import Answer
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import Setup, Task
from tongwen.judge.benchmarks import Benchmarks

Lay = Callable[[str, Sequence[Mapping[str, Any]]], None]
Make = Callable[..., Task]
Mark = Callable[[Task, Sample, str], Grade]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Writes rows where a benchmark looks for them."""

    def write(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    return write


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A benchmark over those files, or over others."""

    def made(kind: type[Task], preset: str | None = None, **settings: Any) -> Task:
        root = settings.pop("root", tmp_path)
        return kind(
            Setup(
                data=Benchmarks(root),
                preset=preset or next(iter(kind.about.presets)),
                is_chat=settings.pop("is_chat", False),
                **settings,
            )
        )

    return made


@pytest.fixture
def mark() -> Mark:
    """The grade of a text."""

    def graded(task: Task, sample: Sample, text: str) -> Grade:
        return asyncio.run(task.grade(sample, Answer(turns=(text,))))

    return graded
