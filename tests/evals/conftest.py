"""A tiny model, benchmarks of a dozen rows, and runs of these."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.conftest import tiny_llm
from tests.evals.tiny import TINY_TASKS, write_rows
from tests.server.conftest import tiny_model

from tongwen.engine.llm import LLM
from tongwen.evals.catalogue import TASKS
from tongwen.evals.measure import run
from tongwen.evals.trial import EvalConfig, Result

__all__ = ["tiny_llm", "tiny_model"]

Measure = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Their files."""
    return write_rows(tmp_path / "data")


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, tiny_llm: LLM) -> Measure:
    """Runs one of them on the tiny model; what an earlier run left is in the same directory."""

    for name, task in TINY_TASKS.items():
        monkeypatch.setitem(TASKS, name, task)

    def one(name: str, model: LLM | None = None, **settings: object) -> Result:
        config = EvalConfig(**{"data": data, "out": tmp_path / "out", **settings})
        (result,) = run(name, model or tiny_llm, config)
        return result

    return one
