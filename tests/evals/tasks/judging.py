"""A judge behind a real endpoint that speaks OpenAI's dialect and says what a script tells it."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.client.standin import DROPPED, answered, serving

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

    def take(head: str, body: bytes) -> bytes:
        asked = json.loads(body)
        if not head.split()[1].endswith("/chat/completions"):
            return NO_SUCH_PATH
        with lock:
            number = len(bench.bodies)
            bench.bodies.append(asked)
        said = script("\n".join(turn["content"] for turn in asked["messages"]), number)
        return words(said) if isinstance(said, str) else said

    with serving(take) as bench.url:
        yield bench


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
