"""A judge behind a real endpoint that speaks OpenAI's dialect and says what a script tells it."""

import asyncio
import contextlib
import json
import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.client.standin import DROPPED, answered

from tongwen.client.http import HttpClient, Retries
from tongwen.evals.task import Setup, Task
from tongwen.judge.benchmarks import Benchmarks

Found = TypeVar("Found")
Script = Callable[[str, int], str | bytes]
"""Of what the judge is asked and how many requests came before: its words, or a whole answer."""

SLOW_DOWN = answered(429, {"error": {"message": "slow down"}})
BROKEN = answered(500, {"error": {"message": "out of order"}})
NO_JSON = answered(200, b"<html>gateway</html>", "text/html")
HALF = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"choi'
NO_SUCH_PATH = answered(404, {"error": {"message": "no such path"}})
FAILURES = (SLOW_DOWN, BROKEN, NO_JSON, HALF, DROPPED)


@dataclass
class Bench:
    """Where the judge is, and what it was asked."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def client(self) -> HttpClient:
        """Reaches it; tries twice what may pass."""
        return HttpClient(self.url, "wise", retries=Retries(most=1, first_wait_s=0.01))


def words(text: str) -> bytes:
    """A whole answer that holds these words."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return answered(200, {"choices": [choice], "usage": {}})


@contextlib.contextmanager
def judging(script: Script) -> Iterator[Bench]:
    """A judge on a port of its own."""
    bench, lock = Bench(), threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path, length = self.rfile.readline().split()[1], 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length"):
                    length = int(line.partition(b":")[2])
            body = json.loads(self.rfile.read(length))
            if not path.endswith(b"/chat/completions"):
                self.wfile.write(NO_SUCH_PATH)
                return
            with lock:
                number = len(bench.bodies)
                bench.bodies.append(body)
            said = script("\n".join(turn["content"] for turn in body["messages"]), number)
            self.wfile.write(words(said) if isinstance(said, str) else said)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        bench.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield bench
        finally:
            server.shutdown()
            thread.join()


def with_judge(bench: Bench, work: Callable[[HttpClient], Awaitable[Found]]) -> Found:
    """What comes of work with a client of the judge, which is closed after it."""

    async def run() -> Found:
        client = bench.client()
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def write(root: Path, name: str, rows: list[Mapping[str, Any]]) -> None:
    """A file of rows below a directory of data."""
    path = root / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def task_of(
    kind: type[Task], root: Path, *, preset: str | None = None, judge: HttpClient | None = None
) -> Task:
    """A benchmark over a directory of data."""
    chosen = preset or next(iter(kind.about.presets))
    return kind(Setup(data=Benchmarks(root), preset=chosen, is_chat=True, judge=judge))
