"""Servers on ports of their own: one over the real model, one over a tiny one."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import openai
import pytest
from tests.cli.conftest import save_tiny

from tongwen.checkpoint.store import Store
from tongwen.cli.facts import read_facts
from tongwen.cli.serving import load_served
from tongwen.server.config import ModelEntry, ServeConfig
from tongwen.server.listen import HttpServer, address_of, bind
from tongwen.server.main import Load, make_service
from tongwen.tokenizer.special import QWEN2_5
from tongwen.tokenizer.train import train_tokenizer

REAL = "qwen2.5-coder:0.5b"
GET_WEATHER = {
    "name": "get_weather",
    "description": "Tell the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
"""A function, in OpenAI's words."""

Serving = Callable[..., contextlib.AbstractContextManager[str]]


@contextlib.contextmanager
def serving(
    config: ServeConfig,
    home: Path,
    load: Load | None = None,
    environ: dict[str, str] | None = None,
) -> Iterator[str]:
    """A server in a thread; its address."""
    store = Store(home, environ)
    load = load or partial(load_served, home=home)
    service = make_service(config, store, load, partial(read_facts, cache=home / "tokenizers"))
    listening = bind(config)
    server = HttpServer(service)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    with listening:
        thread.start()
        try:
            yield address_of(config, listening)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def served_url(real_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the real model, without sampling defaults, under its name in the store."""
    entry = ModelEntry(
        model=str(real_gguf), aliases=(REAL,), generation="none", keep_alive_s=-1.0, context=4096
    )
    config = ServeConfig(models=(entry,), port=0)
    with serving(config, tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture
def real_client(served_url: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client of it."""
    with openai.OpenAI(base_url=f"{served_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model whose answers are noise, and do not end by themselves."""
    texts = ['{"name": "value", "next": [1, 2.5]}\nuser assistant system\n'] * 9
    tokenizer = train_tokenizer(texts, 420, [token.text for token in QWEN2_5])
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", tokenizer, chat=True)


@pytest.fixture(scope="session")
def tiny_url(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of that model as `tiny`."""
    entry = ModelEntry(model=str(tiny_model), aliases=("tiny",), context=512)
    config = ServeConfig(models=(entry,), port=0)
    with serving(config, tmp_path_factory.mktemp("home")) as url:
        yield url
