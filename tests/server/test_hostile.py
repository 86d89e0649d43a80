"""Bad input gets the dialect's own error, never a 500, never a hang."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.test_door import ASK, ask

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "value"}], "max_tokens": 2}
NAMES = sorted({*CHAT, *ASK, "n", "stop", "tools", "seed", "stream", "logprobs", "tool_choice"})
NAMES += ["response_format", "logit_bias", "prompt_logprobs", "echo"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


# The server is a thread of this process, and what its libraries draw is taken for the test's own.
OF_THE_SERVER = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


def send(url: str, path: str, data: bytes) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("POST", path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status, said


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"model": "tiny", "prompt": "\\ud800"}',
        b'{"model": "tiny", "prompt": "\xff"}',
        b'{"model": "tiny", "prompt": "a", "temperature": NaN}',
        b'{"model": "tiny", "prompt": "a", "temperature": Infinity}',
        b'{"model": "tiny", "prompt": "a", "temperature": 1e999}',
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b"9" * 5_000,
        b'{"model": "tiny", "prompt": "a", "seed": ' + b"9" * 4_000 + b"}",
        b"\x00\x01",
    ],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/embeddings"])
def test_what_is_no_body_is_refused(tiny_url: str, path: str, data: bytes) -> None:
    status, said = send(tiny_url, path, data)
    assert status == 400
    assert json.loads(said)["error"]["message"]


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -7}, "top_k"),
        ({"n": 0}, "`n`"),
        ({"n": 10**9}, "`n`"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**6}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop_token_ids": [-1]}, "token id -1"),
        ({"stop_token_ids": [10**12]}, "token id"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 1000}}, "logit_bias"),
        ({"logit_bias": {str(10**20): 1}}, "logit_bias"),
        ({"allowed_token_ids": []}, "allowed_token_ids"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt is empty"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": [10**9]}, "token id"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": "a " * 5000}, "context of 512"),
        ({"guided_json": {"type": "nonsense"}}, "nonsense"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_regex": "("}, ""),
        ({"guided_choice": []}, "choice"),
        ({"guided_grammar": "start: ("}, ""),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"nonsense": 1}, "nonsense"),
        ({"model": "nobody"}, "nobody"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    tiny_url: str, wish: dict[str, object], param: str
) -> None:
    status, _, said = ask(tiny_url, body={**ASK, **wish})
    assert status == (404 if "model" in wish else 400), said
    assert param in json.loads(said)["error"]["message"]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user"},
        {"role": "pirate", "content": "a"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": 7},
        {"role": "user", "content": "a", "extra": 1},
        {"role": "tool", "content": "a", "tool_call_id": "1"},
        {},
    ],
)
def test_a_message_that_is_none_is_refused(tiny_url: str, message: dict[str, object]) -> None:
    status, _, said = ask(tiny_url, "/v1/chat/completions", {**CHAT, "messages": [message]})
    assert status == 400
    assert "message 0" in json.loads(said)["error"]["message"]


def test_an_image_is_refused_by_name(tiny_url: str) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    body = {**CHAT, "messages": [{"role": "user", "content": parts}]}
    status, _, said = ask(tiny_url, "/v1/chat/completions", body)
    assert status == 400
    assert "`image_url`" in json.loads(said)["error"]["message"]


def test_the_context_says_its_numbers(tiny_url: str) -> None:
    status, _, said = ask(tiny_url, body={**ASK, "prompt": [1] * 600})
    error = json.loads(said)["error"]
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert "600" in error["message"]
    assert "512" in error["message"]


@OF_THE_SERVER
@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(wish=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), is_chat=st.booleans())
def test_no_value_makes_the_server_fail(
    tiny_url: str, wish: dict[str, object], is_chat: bool
) -> None:
    path, base = ("/v1/chat/completions", CHAT) if is_chat else ("/v1/completions", ASK)
    data = json.dumps({**base, **wish}).encode()
    status, said = send(tiny_url, path, data)
    assert status < 500 or b"more may not" in said, said


def test_half_a_request_holds_nobody_up(tiny_url: str) -> None:
    parts = urlsplit(tiny_url)
    halves = [
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le",
        b"GET /",
        b"\x16\x03\x01\x02\x00",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
    ]
    held = [socket.create_connection((parts.hostname, parts.port or 0)) for _ in halves * 25]
    try:
        for connection, half in zip(held, halves * 25, strict=True):
            connection.sendall(half)
        assert ask(tiny_url)[0] == 200
    finally:
        for connection in held:
            connection.close()
    assert ask(tiny_url)[0] == 200


@OF_THE_SERVER
def test_the_description_of_the_interface_holds(tiny_url: str) -> None:
    """schemathesis makes requests from our OpenAPI document; none may fail the server."""
    schema = schemathesis.openapi.from_url(f"{tiny_url}/openapi.json")
    paths = set(schema.raw_schema["paths"])
    assert {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"} <= paths

    @settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def fuzz(data: st.DataObject) -> None:
        for operation in schema.get_all_operations():
            case = data.draw(operation.ok().as_strategy())
            answer = case.call(base_url=tiny_url, timeout=60)
            assert answer.status_code < 500 or answer.status_code == 503, answer.text

    fuzz()
