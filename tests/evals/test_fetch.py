"""Files of benchmarks from a stand-in hub."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tongwen.errors import RequestError, SourceError
from tongwen.evals.fetch import from_hub
from tongwen.judge.benchmarks import Benchmarks

ROWS = [{"question": "2 + 2?", "answer": "#### 4"}]
PLACE = "/datasets/someone/sums/resolve/main/main/test.jsonl"
FETCH = """
import json, sys
from tongwen.evals.fetch import from_hub
from tongwen.judge.benchmarks import Benchmarks

places = {"sums/test": ("someone/sums", sys.argv[1])}
data = Benchmarks(None, from_hub(places))
print(json.dumps([data.rows("sums/whole", "sums/test"), list(data.digests)]))
"""


class Hub(BaseHTTPRequestHandler):
    """Has one file; tells who asked, and with which token."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        Hub.asked.append((self.path, self.headers.get("authorization")))
        data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        is_there = self.path == PLACE
        self.send_response(200 if is_there else 404)
        if not is_there:
            self.send_header("X-Error-Code", "EntryNotFound")
            data = b""
        self.send_header("ETag", '"one"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if has_body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Hub.asked.clear()
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetched(path: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's library reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_secret"}
    return subprocess.run(
        [sys.executable, "-c", FETCH, path],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_that_the_directory_lacks_comes_from_the_hub_with_its_digest(
    hub: str, tmp_path: Path
) -> None:
    done = fetched("main/test.jsonl", hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [ROWS, ["sums/test.jsonl"]]
    assert (PLACE, "Bearer hf_secret") in Hub.asked


def test_a_file_that_the_hub_has_not_is_not_there(hub: str, tmp_path: Path) -> None:
    done = fetched("main/other.jsonl", hub, tmp_path)
    assert done.returncode == 1
    assert "the benchmark's file `sums/whole` is not there" in done.stderr
    assert "hf_secret" not in done.stderr


def test_a_hub_that_does_not_answer_is_named_with_the_remedy(tmp_path: Path) -> None:
    done = fetched("main/test.jsonl", "http://127.0.0.1:9", tmp_path)
    assert done.returncode == 1
    assert "the hub does not give `main/test.jsonl` of `someone/sums`" in done.stderr


def test_a_hub_that_was_silent_once_is_not_asked_again(tmp_path: Path) -> None:
    asked = []

    def silent(name: str) -> Path | None:
        asked.append(name)
        raise SourceError("nobody answers")

    data = Benchmarks(tmp_path, silent)
    for name in ("a/test", "b/test"):
        with pytest.raises(RequestError, match=r"is not there: not in .*, and nobody answers"):
            data.rows(name)
    assert asked == ["a/test"]


def test_what_has_no_place_on_the_hub_is_not_asked_for() -> None:
    assert from_hub({})("sums/test") is None
