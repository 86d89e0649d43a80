"""Bodies in which one thing is not what it should be: answered, or refused in their shape."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server.conftest import serving
from tests.server.test_life import process

from tongwen.server.config import ModelEntry, ServeConfig

STRANGE: list[Any] = [None, True, -1, 2**70, 1e308, "\x00", [], {}, [None], {"type": "x"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {
        "model": "tiny",
        "max_tokens": 2,
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "tool_use", "id": "1", "name": "f", "input": {"city": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": "r", "is_error": True}
                ],
            },
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["q"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "metadata": {"user_id": "u"},
        "thinking": {"type": "disabled"},
    },
    "/v1/responses": {
        "model": "tiny",
        "max_output_tokens": 2,
        "instructions": "s",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "r"},
        ],
        "tools": [{"type": "function", **FUNCTION, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "text"}},
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "metadata": {"a": "b"},
        "temperature": 0.5,
    },
    "/v1/chat/completions": {
        "model": "tiny",
        "max_tokens": 2,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "r"},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "logit_bias": {"5": 1},
        "logprobs": True,
        "top_logprobs": 2,
        "stop": ["q"],
        "n": 2,
        "seed": 3,
        "temperature": 0.7,
    },
    "/v1/completions": {
        "model": "tiny",
        "max_tokens": 2,
        "prompt": ["a", "b"],
        "logprobs": 1,
        "echo": True,
        "stop": ["q"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    },
    "/v1/embeddings": {"model": "tiny", "input": ["a"], "dimensions": 4},
    "/v1/batches": {
        "input_file_id": "file-0",
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "metadata": {"a": "b"},
    },
}


@pytest.fixture(scope="module")
def roomy_url(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model whose context holds a conversation with tools."""
    entry = ModelEntry(model=str(tiny_model), aliases=("tiny",), context=2048)
    config = ServeConfig(models=(entry,), port=0)
    with serving(config, tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture(scope="module")
def own_url(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same in a process of its own: without the checks of types, which cost 40 ms a token."""
    with process(tiny_model, tmp_path_factory.mktemp("home"), "--context", "2048") as (_, url):
        yield url


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        yield (*path, key)
        if isinstance(each, dict | list):
            yield from places(each, (*path, key))


def changed(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The body with another value at a place."""
    body = copy.deepcopy(body)
    inside: Any = body
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return body


def check(url: str, answer: httpx.Response, what: object) -> None:
    assert answer.status_code < 500, (what, answer.text)
    if answer.status_code == 200:
        return
    told = answer.json()
    assert answer.status_code in (400, 404), (what, answer.text)
    assert told["error"]["message"], what
    if url == "/v1/messages":
        assert told["type"] == "error", what
        assert told["error"]["type"] in ("invalid_request_error", "not_found_error"), what
        assert told["request_id"] == answer.headers["request-id"], what
    else:
        assert {"type", "code", "param"} <= told["error"].keys(), what


@pytest.mark.parametrize("url", [url for url in BODIES if url != "/v1/batches"])
def test_what_is_changed_was_good(roomy_url: str, url: str) -> None:
    answer = httpx.post(f"{roomy_url}{url}", json=BODIES[url], timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("url", BODIES)
def test_whatever_is_wrong_is_refused_in_the_dialects_shape(own_url: str, url: str) -> None:
    with httpx.Client(base_url=own_url, timeout=30) as client:
        for path in places(BODIES[url]):
            for value in STRANGE:
                body = changed(BODIES[url], path, value)
                check(url, client.post(url, json=body), (path, value))


@pytest.mark.parametrize("url", [*BODIES, "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"model": "\\ud800"}',
        b'{"model": NaN}',
        b"[" * 20_000,
        b'{"a":' * 20_000,
        b"\xff\xfe",
        json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "\ud800"}]}).encode(),
    ],
)
def test_what_is_no_body_is_refused(roomy_url: str, url: str, body: bytes) -> None:
    answer = httpx.post(f"{roomy_url}{url}", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"x"),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\nx\r\n--a--"),
        ("application/json", b"{}"),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--a--\r\n',
        ),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="file"\r\n\r\nbatch\r\n--a--\r\n',
        ),
    ],
)
def test_what_is_no_form_is_refused(roomy_url: str, head: str, body: bytes) -> None:
    answer = httpx.post(f"{roomy_url}/v1/files", content=body, headers={"Content-Type": head})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=9999999999999", "after=nobody"])
@pytest.mark.parametrize("url", ["/v1/files", "/v1/batches"])
def test_what_is_no_page_is_refused(roomy_url: str, url: str, query: str) -> None:
    answer = httpx.get(f"{roomy_url}{url}?{query}")
    assert answer.status_code in (400, 404)
