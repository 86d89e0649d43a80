"""A server's beginning, its crashes and its end."""

import contextlib
import gc
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from tests.server.conftest import serving
from tests.server.test_door import ASK, ask, config_of

from tongwen.cli.serving import load_served
from tongwen.server.config import ModelEntry
from tongwen.server.running import running_servers
from tongwen.server.served import Served

LONG = {**ASK, "max_tokens": 300, "ignore_eos": True, "stream": True}


@contextlib.contextmanager
def process(
    model: Path, home: Path, *options: str, stderr: int | None = None, **environ: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`tongwen serve` in a process of its own, and its address."""
    command = [sys.executable, "-m", "tongwen", "serve", str(model), "--port", "0"]
    command += ["--served-model-name", "tiny", "--context", "512", *options]
    env = {**os.environ, "TONGWEN_HOME": str(home), "OMP_NUM_THREADS": "1", **environ}
    log = (home / "log").open("a+")
    started = subprocess.Popen(command, env=env, stderr=stderr or log.fileno(), text=True)
    try:
        deadline = time.monotonic() + 60
        while not (found := running_servers(home)):
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield started, found[0].url
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
        log.close()


def open_stream(url: str, wish: dict[str, object]) -> tuple[http.client.HTTPConnection, object]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(wish))
    return connection, connection.getresponse()


def test_sigterm_lets_a_stream_end_and_takes_no_more(tiny_model: Path, tmp_path: Path) -> None:
    with process(tiny_model, tmp_path) as (server, url):
        connection, stream = open_stream(url, LONG)
        first = stream.read1(64)  # type: ignore[attr-defined]
        server.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        rest = stream.read()  # type: ignore[attr-defined]
        connection.close()
        assert first.startswith(b"data: ")
        assert rest.endswith(b"data: [DONE]\n\n")
        assert server.wait(30) == 0
        with pytest.raises(OSError, match="refused"):
            ask(url)
        assert running_servers(tmp_path) == []


def test_ctrl_c_ends_it_in_good_order(tiny_model: Path, tmp_path: Path) -> None:
    with process(tiny_model, tmp_path) as (server, url):
        assert ask(url)[0] == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_sighup_takes_new_keys_and_keeps_the_old_where_the_file_is_broken(
    tiny_model: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "serve.toml"

    def write(key: str) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()
        recipe.write_text(f'[[keys]]\nname = "ann"\nsha256 = "{digest}"\n')

    def status(key: str) -> int:
        return ask(url, headers={"X-Api-Key": key})[0]

    def wait_for(key: str) -> None:
        deadline = time.monotonic() + 20
        while status(key) != 200 and time.monotonic() < deadline:
            time.sleep(0.05)

    write("one")
    with process(tiny_model, tmp_path, "--config", str(recipe)) as (server, url):
        assert (status("one"), status("two")) == (200, 401)
        write("two")
        server.send_signal(signal.SIGHUP)
        wait_for("two")
        assert (status("one"), status("two")) == (401, 200)
        recipe.write_text("[[keys]\n")
        server.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert (status("one"), status("two")) == (401, 200)


def test_a_key_never_stands_on_the_command_line(tiny_model: Path, tmp_path: Path) -> None:
    with process(tiny_model, tmp_path, "--api-key-env", "MY_KEY", MY_KEY="k-1") as (server, url):
        assert ask(url)[0] == 401
        assert ask(url, headers={"Authorization": "Bearer k-1"})[0] == 200
        assert "k-1" not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_log_stops_nobody(tiny_model: Path, tmp_path: Path) -> None:
    with (
        open("/dev/full", "w") as full,
        process(tiny_model, tmp_path, stderr=full.fileno()) as (_, url),
    ):
        for _ in range(3):
            assert ask(url)[0] == 200


def test_a_thousand_idle_connections_are_held(tiny_model: Path, tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(4096, hard)
    if wanted < 2500:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        with process(tiny_model, tmp_path) as (server, url):
            parts = urlsplit(url)
            address = (parts.hostname or "", parts.port or 0)
            idle = [socket.create_connection(address) for _ in range(1000)]
            for connection in idle[:500]:  # half of them have asked before
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for connection in idle[:500]:
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            assert psutil.Process(server.pid).num_fds() > 1000
            assert ask(url)[0] == 200
            for connection in idle:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
                connection.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_crash_of_the_engine_fails_its_requests_and_no_others(
    tiny_model: Path, tmp_path: Path
) -> None:
    made: list[Served] = []

    def load(entry: ModelEntry) -> Served:
        made.append(load_served(entry, tmp_path))
        return made[-1]

    with serving(config_of(tiny_model), tmp_path, load) as url:
        right = ask(url, body={**ASK, "temperature": 0})
        (served,) = made
        engine = served.llm.engine  # type: ignore[attr-defined]
        step = engine.step

        def break_once() -> object:
            if not engine.has_requests:  # one more step may follow the request before
                return step()
            engine.step = step
            raise ZeroDivisionError("inside of a step")

        engine.step = break_once
        status, _, said = ask(url)
        assert status == 500
        assert b"Traceback" not in said
        again = ask(url, body={**ASK, "temperature": 0})
        assert again[0] == 200
        assert json.loads(again[2])["choices"] == json.loads(right[2])["choices"]
        connection, stream = open_stream(url, LONG)
        stream.read1(64)  # type: ignore[attr-defined]
        engine.step = break_once
        assert b'"code":"internal_error"' in stream.read()  # type: ignore[attr-defined]
        connection.close()
        assert ask(url)[0] == 200


def test_a_client_that_leaves_ends_its_request(tiny_url: str) -> None:
    def running() -> float:
        figures = ask(tiny_url, "/metrics", method="GET")[2].decode()
        (line,) = [x for x in figures.split("\n") if x.startswith("vllm:num_requests_running{")]
        return float(line.split()[-1])

    assert ask(tiny_url)[0] == 200
    for wish in (LONG, {**LONG, "stream": False, "max_tokens": 450}):
        parts = urlsplit(tiny_url)
        connection = socket.create_connection((parts.hostname or "", parts.port or 0))
        body = json.dumps(wish).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        deadline = time.monotonic() + 20
        while not running() and time.monotonic() < deadline:
            time.sleep(0.005)
        connection.close()
        while running() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.monotonic() < deadline


def test_models_come_when_asked_for_and_go_when_nobody_asks(
    tiny_model: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from tongwen.server.config import ServeConfig

    entry = ModelEntry(model=str(tiny_model), aliases=("a",), context=128, keep_alive_s=0.5)
    other = replace(entry, aliases=("b", "b-too"), keep_alive_s=-1.0)
    config = ServeConfig(models=(entry, other), port=0)
    loaded: list[str] = []

    def load(entry: ModelEntry) -> Served:
        loaded.append(entry.names[0])
        return load_served(entry, tmp_path)

    with serving(config, tmp_path, load) as url:

        def in_memory() -> set[str]:
            data = json.loads(ask(url, "/v1/models", method="GET")[2])["data"]
            return {model["id"] for model in data if model["is_loaded"]}

        assert in_memory() == set()
        threads = [
            threading.Thread(target=ask, args=(url,), kwargs={"body": {**ASK, "model": name}})
            for name in ("a", "b", "b-too", "a", "b")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(loaded) == ["a", "b"]
        assert in_memory() >= {"b", "b-too"}
        deadline = time.monotonic() + 20
        while "a" in in_memory() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert in_memory() == {"b", "b-too"}
        assert ask(url, body={**ASK, "model": "a"})[0] == 200
        assert sorted(loaded) == ["a", "a", "b"]


def test_nothing_is_left_over_when_a_server_has_ended(tiny_model: Path, tmp_path: Path) -> None:
    with serving(config_of(tiny_model), tmp_path) as url:
        assert ask(url)[0] == 200
    gc.collect()
    threads, files = threading.active_count(), psutil.Process().num_fds()
    for _ in range(3):
        with serving(config_of(tiny_model), tmp_path) as url:
            assert ask(url)[0] == 200
            assert ask(url, body=LONG)[0] == 200
    gc.collect()
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() <= files


def test_two_servers_cannot_have_one_port(tiny_model: Path, tmp_path: Path) -> None:
    with process(tiny_model, tmp_path) as (_, url):
        port = str(urlsplit(url).port)
        command = [sys.executable, "-m", "tongwen", "serve", str(tiny_model), "--port", port]
        done = subprocess.run(
            command,
            env={**os.environ, "TONGWEN_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_ps_lists_it_and_stop_ends_it(tiny_model: Path, tmp_path: Path) -> None:
    def tongwen(*arguments: str) -> str:
        env = {**os.environ, "TONGWEN_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "tongwen", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    with process(tiny_model, tmp_path) as (server, url):
        found = json.loads(tongwen("ps", "--json"))
        assert (found["url"], found["loaded"]) == (url, ["tiny"])
        assert url in tongwen("ps")
        tongwen("stop", str(urlsplit(url).port))
        assert server.wait(30) == 0
        assert tongwen("ps") == ""
