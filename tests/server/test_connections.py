"""Connections that do not say what they want, or not to the end, are closed after a time."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.server.conftest import serving
from tests.server.test_door import ASK, config_of

from tongwen.server.config import Limits

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD_S = 0.3


@pytest.fixture(scope="module")
def hasty_url(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that waits a moment for a head."""
    config = config_of(tiny_model, limits=Limits(head_s=HEAD_S))
    with serving(config, tmp_path_factory.mktemp("home")) as url:
        yield url


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 30) as connection:
        yield connection


def seconds_until_closed(connection: socket.socket, dripping: bytes = b"") -> float:
    """How long the server keeps a connection on which a byte comes now and then."""
    began, left = time.monotonic(), iter(dripping)
    connection.settimeout(0.1)
    while time.monotonic() - began < 20:
        with contextlib.suppress(TimeoutError):
            if connection.recv(4096) == b"":
                break
            raise AssertionError("an answer to half a request")
        if (byte := next(left, None)) is not None:
            connection.sendall(bytes([byte]))
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("sent", "dripping"),
    [
        (b"", b""),
        (b"GET /health HTT", b""),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b""),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"", b"GET /health HTTP/1.1\r\nX-A: a"),
        (HEALTH, b"GET /health HTTP/1.1\r\n"),
    ],
)
def test_a_connection_that_sends_no_whole_head_is_closed(
    hasty_url: str, sent: bytes, dripping: bytes
) -> None:
    with connected(hasty_url) as connection:
        connection.sendall(sent)
        if sent == HEALTH:  # a head of its own time, after one that was answered
            time.sleep(2 * HEAD_S)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert HEAD_S / 2 < seconds_until_closed(connection, dripping) < 10


def test_who_has_sent_a_head_has_the_time_of_a_body_and_of_an_answer(hasty_url: str) -> None:
    body = json.dumps({**ASK, "max_tokens": 400, "ignore_eos": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
    with connected(hasty_url) as connection:
        for _ in range(2):  # and so has the next request of the connection
            connection.sendall(f"{head}\r\n\r\n".encode() + body[:9])
            time.sleep(2 * HEAD_S)
            connection.sendall(body[9:])
            assert connection.recv(12) == b"HTTP/1.1 200"
            rest = b""
            while not rest.endswith(b"}"):
                rest += connection.recv(65_536)
            time.sleep(2 * HEAD_S)  # a pause between requests is no half of a head


def test_what_asks_for_another_protocol_is_answered_in_this_one(hasty_url: str) -> None:
    upgrade = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    with connected(hasty_url) as connection:
        connection.sendall(upgrade)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_an_answer_is_not_held_back_until_its_head_is_confirmed(tiny_url: str) -> None:
    """Head and body go out as two small parts: 40 ms lie between them where a socket waits."""
    refused = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    taken = []
    with connected(tiny_url) as connection:
        for _ in range(20):
            began, said = time.monotonic(), b""
            connection.sendall(refused)
            while not said.endswith(b"}}"):
                said += connection.recv(65_536)
            taken.append(time.monotonic() - began)
    assert sorted(taken)[10] < 0.02
