"""Who asks for a model that is still on its way into memory: waits so long and no longer."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.server.conftest import serving
from tests.server.test_door import ASK, ask, config_of

from tongwen.cli.serving import load_served
from tongwen.server.config import Limits, ModelEntry
from tongwen.server.served import Served

TURNS = [{"role": "user", "content": "value"}]
WISHES: dict[str, dict[str, object]] = {
    "/v1/completions": ASK,
    "/v1/chat/completions": {"model": "tiny", "messages": TURNS, "max_tokens": 2},
    "/v1/responses": {"model": "tiny", "input": "value", "max_output_tokens": 2},
    "/v1/messages": {"model": "tiny", "messages": TURNS, "max_tokens": 2},
    "/api/chat": {"model": "tiny", "messages": TURNS, "options": {"num_predict": 2}},
    "/api/generate": {"model": "tiny", "prompt": "value", "options": {"num_predict": 2}},
    "/generate": {"inputs": "value", "parameters": {"max_new_tokens": 2}},
}
LOOKS: dict[str, dict[str, object]] = {
    "/tokenize": {"model": "tiny", "prompt": "value"},
    "/detokenize": {"model": "tiny", "tokens": [5]},
    "/v1/messages/count_tokens": {"model": "tiny", "messages": TURNS},
    "/v1/embeddings": {"model": "tiny", "input": "value"},
    "/api/embed": {"model": "tiny", "input": "value"},
    "/api/chat": {"model": "tiny"},  # nothing but to bring it into memory
}
"""What is asked of a model besides writing."""


@contextlib.contextmanager
def slow_server(tiny: Path, home: Path, limits: Limits) -> Iterator[tuple[str, threading.Event]]:
    """A server whose model comes into memory when the event is set."""
    may_come = threading.Event()

    def load(entry: ModelEntry) -> Served:
        assert may_come.wait(60)
        return load_served(entry, home)

    with serving(config_of(tiny, limits=limits), home, load) as url:
        try:
            yield url, may_come
        finally:
            may_come.set()


@pytest.mark.parametrize("stream", [False, True])
def test_the_time_of_a_request_is_counted_while_its_model_loads(
    tiny_model: Path, tmp_path: Path, stream: bool
) -> None:
    with slow_server(tiny_model, tmp_path, Limits(request_s=0.3)) as (url, may_come):
        for path, wish in WISHES.items():
            began = time.monotonic()
            status, headers, said = ask(url, path, {**wish, "stream": stream})
            assert (status, headers["retry-after"]) == (503, "1"), path
            assert b"longer than 0.3 s" in said, path
            assert 0.3 <= time.monotonic() - began < 10, path
        may_come.set()
        deadline = time.monotonic() + 30
        while ask(url)[0] != 200:  # who comes again finds it there
            assert time.monotonic() < deadline


@pytest.mark.parametrize("path", LOOKS)
def test_the_time_is_counted_whatever_is_asked(tiny_model: Path, tmp_path: Path, path: str) -> None:
    with slow_server(tiny_model, tmp_path, Limits(request_s=0.3)) as (url, _):
        status, _, said = ask(url, path, LOOKS[path])
        assert status == 503
        assert b"longer than 0.3 s" in said


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_a_model_loads_gives_up_the_place(
    tiny_model: Path, tmp_path: Path, stream: bool
) -> None:
    """There is one place: whoever still held it would keep the next one out."""
    with slow_server(tiny_model, tmp_path, Limits(waiting=1)) as (url, may_come):
        for path, wish in WISHES.items():
            body = {**wish, "stream": stream}
            parts = urlsplit(url)
            with contextlib.closing(HTTPConnection(parts.hostname or "", parts.port)) as leaving:
                leaving.request("POST", path, json.dumps(body))
                wait_until(url, is_taken=True)
            wait_until(url, is_taken=False)
        may_come.set()
        assert ask(url)[0] == 200


def wait_until(url: str, *, is_taken: bool) -> None:
    """Wait until the only place is taken, or free again."""
    deadline = time.monotonic() + 20
    while is_full(url) != is_taken:
        assert time.monotonic() < deadline, f"the place stays {'free' if is_taken else 'taken'}"
        time.sleep(0.01)


def is_full(url: str) -> bool:
    """Whether nobody more may wait: asked for a model that there is not, which takes no time."""
    status, _, said = ask(url, body={**ASK, "model": "nobody"})
    assert status in (404, 503), said
    return status == 503
