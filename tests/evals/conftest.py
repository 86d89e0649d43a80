"""A tiny model, benchmarks of a dozen rows, and runs of these."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.evals.tiny import TINY_TASKS, save_packable, write_rows

from tongwen.engine.llm import LLM
from tongwen.evals.catalogue import TASKS
from tongwen.evals.examine import Tell
from tongwen.evals.measure import run
from tongwen.evals.trial import EvalConfig, Result

Measure = Callable[..., Result]


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    """A model whose answers are noise; its weights are packed, so that native kernels, which
    promise the same bits in every batch, compute it."""
    path = save_packable(tmp_path_factory.mktemp("models") / "tiny", seed=7)
    return LLM(path, context=512, weights="int8", home=tmp_path_factory.mktemp("home"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Their files."""
    return write_rows(tmp_path / "data")


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, tiny_llm: LLM) -> Measure:
    """Runs one of them on the tiny model; what an earlier run left is in the same directory."""

    for name, task in TINY_TASKS.items():
        monkeypatch.setitem(TASKS, name, task)

    def one(
        name: str, model: LLM | None = None, tell: Tell = lambda _: None, **settings: object
    ) -> Result:
        config = EvalConfig(**{"data": data, "out": tmp_path / "out", **settings})
        (result,) = run(name, model or tiny_llm, config, tell=tell)
        return result

    return one
