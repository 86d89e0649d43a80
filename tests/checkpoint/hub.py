"""A hub and a ModelScope of one's own: a real HTTP server with repositories, and with faults."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Files of one repository; those of weights are stored as LFS is, by SHA-256."""

    files: dict[str, bytes]
    licence: str | None = "apache-2.0"
    base_model: str | None = None
    is_gated: bool = False


@dataclass
class Faults:
    """What the server does wrong, by the path of a file."""

    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """Each request of the file sends so many bytes and then hangs up, while the list lasts."""

    wrong_bytes: dict[str, bytes] = field(default_factory=dict)
    """Sent in place of what is listed, with its size."""

    wrong_digest: dict[str, str] = field(default_factory=dict)
    """Listed in place of the true SHA-256."""

    bytes_per_s: float | None = None
    """Speed of every file."""

    is_silent: bool = False
    """Connections are taken and never answered."""

    silent_files: bool = False
    """The list is answered, files are not."""

    failures: list[int] = field(default_factory=list)
    """HTTP statuses with which the next requests of files are answered."""

    ignores_range: bool = False
    etag_changes: bool = False
    """Every answer has another ETag: the file is never the one that was begun."""


class StandIn(ThreadingHTTPServer):
    """Serves `repositories` as the Hugging Face hub does and as ModelScope does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.requests: list[tuple[str, str | None]] = []
        """Path and Range of every request of a file's bytes."""
        self.authorizations: list[str | None] = []
        self.cdn: str | None = None
        """Another host, to which files of weights are redirected."""
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A running server; stopped at the end, silent requests included."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        with suppress(ConnectionError):
            self._answer(unquote(urlsplit(self.path).path))

    def _answer(self, path: str) -> None:
        if self.server.faults.is_silent:
            self.server.stopped.wait()
            self.close_connection = True
        elif path.startswith("/api/models/"):
            self._hub_info(path.removeprefix("/api/models/"))
        elif path.startswith("/api/v1/models/"):
            self._modelscope(path.removeprefix("/api/v1/models/"))
        elif "/resolve/" in path:
            repo, _, rest = path.removeprefix("/models").removeprefix("/").partition("/resolve/")
            self._resolve(repo, rest.partition("/")[2], redirects=not path.startswith("/models/"))
        elif path.startswith("/cdn/"):
            repo, _, name = path.removeprefix("/cdn/").partition("//")
            self._file(repo, name)
        else:
            self._json({"error": "not found"}, 404)

    def _hub_info(self, repo: str) -> None:
        repository = self.server.repositories.get(repo)
        if repository is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        card = {"license": repository.licence, "base_model": repository.base_model}
        siblings = [self._sibling(name, data) for name, data in repository.files.items()]
        self._json(
            {
                "_id": "1",
                "id": repo,
                "modelId": repo,
                "sha": "c" * 40,
                "cardData": {key: value for key, value in card.items() if value},
                "gated": "auto" if repository.is_gated else False,
                "siblings": siblings,
            }
        )

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": oid}
        if is_lfs(name):
            entry["lfs"] = {"sha256": self._digest(name, data), "size": len(data), "pointerSize": 1}
        return entry

    def _digest(self, name: str, data: bytes) -> str:
        return self.server.faults.wrong_digest.get(name, hashlib.sha256(data).hexdigest())

    def _modelscope(self, path: str) -> None:
        repo, _, listing = path.partition("/repo/files")
        repository = self.server.repositories.get(repo)
        if repository is None:
            self._json({"Code": 10010205001, "Message": "not found", "Success": False}, 404)
        elif path == repo:
            self._json({"Code": 200, "Data": {"License": repository.licence}, "Success": True})
        else:
            assert not listing
            files = [
                {"Path": n, "Size": len(d), "Sha256": self._digest(n, d), "Type": "blob"}
                for n, d in repository.files.items()
            ]
            self._json({"Code": 200, "Data": {"Files": files}, "Success": True})

    def _resolve(self, repo: str, name: str, *, redirects: bool) -> None:
        if self.server.repositories[repo].is_gated and not self.headers.get("Authorization"):
            self._json({"error": "gated"}, 401, {"X-Error-Code": "GatedRepo"})
        elif redirects and is_lfs(name):
            self.send_response(302)
            self.send_header("Location", f"{self.server.cdn or self.server.url}/cdn/{repo}//{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._file(repo, name)

    def _file(self, repo: str, name: str) -> None:
        faults = self.server.faults
        asked = self.headers.get("Range")
        self.server.requests.append((name, asked))
        self.server.authorizations.append(self.headers.get("Authorization"))
        if faults.silent_files:
            self.server.stopped.wait()
            return
        if faults.failures:
            self._json({"error": "later"}, faults.failures.pop(0))
            return
        data = faults.wrong_bytes.get(name, self.server.repositories[repo].files[name])
        count = len(self.server.requests) if faults.etag_changes else 0
        etag = f'"{hashlib.md5(data).hexdigest()}{count}"'
        start = self._start(asked, etag)
        self.send_response(206 if start else 200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        cuts = faults.cut_after.get(name)
        self._send(data[start : start + cuts.pop(0)] if cuts else data[start:])
        self.close_connection = True

    def _start(self, asked: str | None, etag: str) -> int:
        if asked is None or self.server.faults.ignores_range:
            return 0
        condition = self.headers.get("If-Range")
        if condition is not None and condition != etag:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, data: bytes) -> None:
        speed = self.server.faults.bytes_per_s
        if speed is None:
            self.wfile.write(data)
            return
        piece = max(int(speed / 50), 1)
        for at in range(0, len(data), piece):
            self.wfile.write(data[at : at + piece])
            time.sleep(0.02)

    def _json(self, tree: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(tree).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def is_lfs(name: str) -> bool:
    """Whether a hub would keep the file `name` outside git."""
    return name.endswith((".gguf", ".safetensors", ".bin", "tokenizer.json"))
