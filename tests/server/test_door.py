"""What the server refuses before any handler sees it."""

import asyncio
import contextlib
import hashlib
import http.client
import json
import logging
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.server.conftest import serving

from tongwen.errors import ConfigError
from tongwen.server.config import KeyEntry, Limits, ModelEntry, ServeConfig
from tongwen.server.door import Door
from tongwen.server.errors import ApiError
from tongwen.server.keys import Keys
from tongwen.server.metrics import Metrics
from tongwen.server.pool import ModelPool
from tongwen.server.served import Served

ASK = {"model": "tiny", "prompt": "value", "max_tokens": 2}
KEY, OTHER = "k-3f9a", "k-77aa"
SHA = hashlib.sha256(KEY.encode()).hexdigest()


def ask(
    url: str,
    path: str = "/v1/completions",
    body: object = ASK,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    with contextlib.closing(connection):
        data = None if method in ("GET", "OPTIONS") else json.dumps(body)
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def config_of(tiny: Path, **more: object) -> ServeConfig:
    entry = ModelEntry(model=str(tiny), aliases=("tiny",), context=512)
    return ServeConfig(models=(entry,), port=0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_was_rebound_to_this_address_is_refused(tiny_url: str, host: str) -> None:
    status, _, said = ask(tiny_url, headers={"Host": host})
    assert status == 403
    assert "no name of this server" in json.loads(said)["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]:8000", "LOCALHOST:1"])
def test_the_names_of_this_machine_are_not(tiny_url: str, host: str) -> None:
    assert ask(tiny_url, headers={"Host": host})[0] == 200


def test_a_name_that_is_listed_is_not(tiny_model: Path, tmp_path: Path) -> None:
    with serving(config_of(tiny_model, hosts=("models.example",)), tmp_path) as url:
        assert ask(url, headers={"Host": "models.example"})[0] == 200
        assert ask(url, headers={"Host": "model.example"})[0] == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"]
)
def test_a_page_of_another_address_may_not_ask(tiny_url: str, origin: str) -> None:
    status, headers, _ = ask(tiny_url, headers={"Origin": origin})
    assert status == 403
    assert "access-control-allow-origin" not in headers
    assert ask(tiny_url, headers={"Origin": origin}, method="OPTIONS")[0] == 403


def test_a_page_that_is_listed_may_and_its_browser_is_told(
    tiny_model: Path, tmp_path: Path
) -> None:
    page = "https://page.example"
    with serving(config_of(tiny_model, origins=(page,)), tmp_path) as url:
        status, headers, _ = ask(url, headers={"Origin": page})
        assert (status, headers["access-control-allow-origin"]) == (200, page)
        wish = {"Origin": page, "Access-Control-Request-Method": "POST"}
        assert ask(url, headers=wish, method="OPTIONS")[0] == 200
        assert ask(url, headers={"Origin": "https://other.example"})[0] == 403


def test_without_a_key_nothing_is_answered_but_health(tiny_model: Path, tmp_path: Path) -> None:
    keys = (KeyEntry(name="ann", sha256=SHA),)
    with serving(config_of(tiny_model, keys=keys), tmp_path) as url:
        for path in ("/v1/completions", "/metrics", "/v1/models", "/openapi.json", "/nowhere"):
            status, headers, said = ask(url, path, headers={})
            assert (status, headers["www-authenticate"][:6]) == (401, "Bearer")
            assert KEY not in said.decode()
        for wrong in (
            f"Bearer {OTHER}",
            f"Basic {KEY}",
            "Bearer",
            f"Bearer {KEY}x",
            f"bearer{KEY}",
        ):
            assert ask(url, headers={"Authorization": wrong})[0] == 401
        assert ask(url, headers={"Authorization": f"Bearer {KEY}"})[0] == 200
        assert ask(url, headers={"X-Api-Key": KEY})[0] == 200
        assert ask(url, "/health", method="GET")[0] == 200


def test_every_key_is_compared_whatever_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the comparison takes tells nothing: it goes through all keys, in constant time."""
    from tongwen.server import keys as module

    compared: list[bytes] = []
    real = module.hmac.compare_digest

    def count(a: bytes, b: bytes) -> bool:
        compared.append(a)
        assert len(a) == len(b) == 32
        return real(a, b)

    monkeypatch.setattr(module.hmac, "compare_digest", count)
    keys = Keys(
        [KeyEntry(name=str(i), sha256=hashlib.sha256(bytes([i])).hexdigest()) for i in range(5)], {}
    )
    for sent in ("\x00", "\x04", "nobody's"):
        compared.clear()
        with contextlib.suppress(ApiError):
            keys.caller(sent, is_local=True)
        assert len(set(compared)) == 5


def test_what_changes_the_store_is_for_this_machine_or_an_admin(tiny_model: Path) -> None:
    """A caller from elsewhere cannot be had on one machine: the door is asked itself."""
    entries = (
        KeyEntry(name="ann", sha256=SHA),
        KeyEntry(name="root", sha256=hashlib.sha256(OTHER.encode()).hexdigest(), admin=True),
    )
    keys = Keys(entries, {})
    assert not keys.caller(KEY, is_local=False).is_admin
    assert keys.caller(OTHER, is_local=False).is_admin
    seen: list[int] = []

    def load(_: ModelEntry) -> Served:
        raise AssertionError("nobody asks for a model")

    async def app(*_: object) -> None:
        seen.append(200)

    door = Door(
        app,
        config=config_of(tiny_model, keys=entries),
        keys=keys,
        metrics=Metrics(ModelPool(list, load)),
        write_error=lambda _, error: {"error": error.message},
    )

    async def receive() -> dict:  # type: ignore[type-arg]
        return {"type": "http.disconnect"}

    def status_of(path: str, key: str, client: str) -> int:
        sent: list[dict] = []  # type: ignore[type-arg]

        async def send(message: dict) -> None:  # type: ignore[type-arg]
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"x-api-key", key.encode())]
        scope = {
            "type": "http",
            "path": path,
            "method": "POST",
            "headers": headers,
            "client": (client, 1),
        }
        seen.clear()
        asyncio.run(door(scope, receive, send))
        return sent[0]["status"] if sent else seen[0]

    for path in ("/api/pull", "/api/create", "/api/copy", "/api/delete", "/api/blobs/sha256:0"):
        assert status_of(path, KEY, "192.0.2.7") == 403
        assert status_of(path, OTHER, "192.0.2.7") == 200
        assert status_of(path, KEY, "127.0.0.1") == 200
        assert status_of(path, "wrong", "127.0.0.1") == 401
    assert status_of("/v1/completions", KEY, "192.0.2.7") == 200


def test_a_key_may_ask_so_often_and_for_so_much() -> None:
    now = [1_000_000.0]
    entry = KeyEntry(name="ann", sha256=SHA, requests_per_minute=2, tokens_per_day=100)
    keys = Keys([entry], {}, clock=lambda: now[0])
    ann = keys.caller(KEY, is_local=False)
    keys.count_request(ann)
    keys.count_request(ann)
    with pytest.raises(ApiError, match="2 requests a minute") as refused:
        keys.count_request(ann)
    assert refused.value.status == 429
    now[0] += int(refused.value.headers["Retry-After"])
    keys.count_request(ann)
    keys.count_tokens(ann, 100)
    with pytest.raises(ApiError, match=r"100 tokens a day \(100 used\)") as refused:
        keys.count_request(ann)
    keys.load([entry], {})  # what was used stays used
    with pytest.raises(ApiError, match="100 tokens a day"):
        keys.count_request(ann)
    now[0] += int(refused.value.headers["Retry-After"])
    keys.count_request(ann)


def test_keys_come_from_the_environment_or_as_digests_and_from_nowhere_else() -> None:
    entry = KeyEntry(name="ann", env="ANNS_KEY")
    keys = Keys([entry], {"ANNS_KEY": KEY})
    assert keys.caller(KEY, is_local=False).name == "ann"
    with pytest.raises(ConfigError, match="`ANNS_KEY`"):
        keys.load([entry], {})
    assert keys.caller(KEY, is_local=False).name == "ann"
    with pytest.raises(ConfigError, match="no SHA-256"):
        KeyEntry(name="ann", sha256=KEY)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    tiny_model: Path, tmp_path: Path
) -> None:
    limits = Limits(body_bytes=10_000)
    with serving(config_of(tiny_model, limits=limits), tmp_path) as url:
        status, _, said = ask(url, body={**ASK, "prompt": "a" * 20_000})
        assert status == 413
        assert "10000 bytes" in said.decode()
        parts = urlsplit(url)
        # One that does not say how long it is, too.
        with socket.create_connection((parts.hostname, parts.port or 0), 30) as sent:
            sent.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            with contextlib.suppress(OSError):
                for _ in range(40):
                    sent.sendall(b"400\r\n" + b"a" * 1024 + b"\r\n")
            assert sent.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_of_100_mb_is_refused_and_not_kept(tiny_url: str) -> None:
    parts = urlsplit(tiny_url)
    with socket.create_connection((parts.hostname, parts.port or 0), 30) as sent:
        sent.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n"
        )
        assert sent.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_that_never_comes_is_given_up(tiny_model: Path, tmp_path: Path) -> None:
    with serving(config_of(tiny_model, limits=Limits(body_s=0.5)), tmp_path) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port or 0), 30) as sent:
            sent.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
            )
            assert sent.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_reader_that_reads_nothing_is_given_up(tiny_model: Path, tmp_path: Path) -> None:
    limits = Limits(send_s=0.5)
    wish = {**ASK, "stream": True, "ignore_eos": True, "logprobs": 100}
    wish |= {"max_tokens": 400, "n": 8}  # megabytes: more than the sockets hold
    with serving(config_of(tiny_model, limits=limits), tmp_path) as url:
        parts = urlsplit(url)
        body = json.dumps(wish).encode()
        with socket.socket() as sent:
            sent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sent.connect((parts.hostname, parts.port or 0))
            head = (
                f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
            )
            sent.sendall(f"{head}\r\n\r\n".encode() + body)
            running = 1.0
            deadline = time.monotonic() + 60
            time.sleep(1)
            while running and time.monotonic() < deadline:
                figures = ask(url, "/metrics", method="GET")[2].decode()
                (line,) = [
                    x for x in figures.split("\n") if x.startswith("vllm:num_requests_running{")
                ]
                running = float(line.split()[-1])
                time.sleep(0.2)
            assert running == 0
        assert ask(url)[0] == 200


def test_a_request_that_takes_too_long_is_ended(tiny_model: Path, tmp_path: Path) -> None:
    slow = {**ASK, "max_tokens": 450, "ignore_eos": True}
    with serving(config_of(tiny_model, limits=Limits(request_s=0.05)), tmp_path) as url:
        status, headers, said = ask(url, body=slow)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "0.05 s" in said.decode()
        status, _, said = ask(url, body={**slow, "stream": True})
        assert status == 200
        assert b'"code":"request_timeout"' in said
        assert b"[DONE]" not in said


def test_more_than_may_wait_are_told_to_come_again(tiny_model: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    slow = {**ASK, "max_tokens": 400, "ignore_eos": True}
    with serving(config_of(tiny_model, limits=Limits(waiting=2)), tmp_path) as url:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(url, body=slow), range(8)))
        statuses = [status for status, _, _ in answers]
        assert statuses.count(200) >= 2
        refused = [(status, headers) for status, headers, _ in answers if status != 200]
        assert refused
        assert all((status, headers["retry-after"]) == (503, "1") for status, headers in refused)


def test_a_request_keeps_its_id_unless_it_could_forge_a_line_of_the_log(tiny_url: str) -> None:
    assert ask(tiny_url, headers={"X-Request-Id": "abc-1"})[1]["x-request-id"] == "abc-1"
    for forged in ("a b", "a" * 129, "a\tb"):
        assert len(ask(tiny_url, headers={"X-Request-Id": forged})[1]["x-request-id"]) == 32


def test_prompts_and_keys_are_not_in_the_log(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tongwen")
    keys = (KeyEntry(name="ann", sha256=SHA),)
    with serving(config_of(tiny_model, keys=keys), tmp_path) as url:
        headers = {"Authorization": f"Bearer {KEY}"}
        assert ask(url, body={**ASK, "prompt": "value secret"}, headers=headers)[0] == 200
        ask(url, body={**ASK, "prompt": "value secret", "top_p": 7}, headers=headers)
        ask(url, "/%1b%5b31mred%0aforged", headers=headers)
    text = caplog.text
    assert "ann POST /v1/completions 200" in text
    assert "secret" not in text
    assert KEY not in text
    assert "\x1b" not in text
    assert "\nforged" not in text


def test_it_listens_on_the_loopback_unless_told_otherwise() -> None:
    assert ServeConfig().host == "127.0.0.1"
