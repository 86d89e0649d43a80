"""The same tiny model behind a server, and in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server.conftest import served_url, serving, tiny_model

from tongwen.engine.llm import LLM
from tongwen.server.config import ModelEntry, ServeConfig

__all__ = ["served_url", "tiny_model"]


@pytest.fixture(scope="session")
def tiny_served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of that model as `tiny`, without sampling defaults."""
    entry = ModelEntry(model=str(tiny_model), aliases=("tiny",), context=512, generation="none")
    home = tmp_path_factory.mktemp("home")
    with serving(ServeConfig(models=(entry,), port=0), home) as url:
        yield url


@pytest.fixture(scope="session")
def tiny_llm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LLM:
    """That model in this process."""
    return LLM(tiny_model, context=512, home=tmp_path_factory.mktemp("home"))
