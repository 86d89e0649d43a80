"""Thousands of requests in every dialect, many of which leave, dawdle or ask for nonsense.

    python benchmarks/soak_server.py --model qwen2.5-coder:0.5b --requests 10000

A server is started in a process of its own.  Every request draws its dialect, parameters and manner
from a seed; whole answers that were asked for greedily are compared with the answer of the same
question asked alone.  Printed at the end, and an exit status other than 0 where one is not as it
should be: requests lost (no answer), wrong (another answer than alone), failed (5xx), and what the
server's process holds before and after: memory, files, threads, running requests.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tongwen.server.running import running_servers

WORDS = "write a list of red green blue trees and numbers in plain text for a child"
SETTLE_S = 20


def question(draw: random.Random) -> str:
    """A text of a few words, which says little."""
    return " ".join(draw.choices(WORDS.split(), k=draw.randint(3, 40)))


def openai_chat(model: str, text: str, tokens: int, stream: bool, more: dict) -> tuple[str, dict]:
    """OpenAI, a conversation."""
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "max_tokens": tokens, "stream": stream, **more}
    return "/v1/chat/completions", body


def openai_text(model: str, text: str, tokens: int, stream: bool, more: dict) -> tuple[str, dict]:
    """OpenAI, a text."""
    body = {"model": model, "prompt": text, "max_tokens": tokens, "stream": stream, **more}
    return "/v1/completions", body


def responses(model: str, text: str, tokens: int, stream: bool, more: dict) -> tuple[str, dict]:
    """OpenAI's responses."""
    kept = {name: more[name] for name in ("temperature", "top_p") if name in more}
    body = {"model": model, "input": text, "max_output_tokens": tokens, "stream": stream, **kept}
    return "/v1/responses", body


def anthropic(model: str, text: str, tokens: int, stream: bool, more: dict) -> tuple[str, dict]:
    """Anthropic."""
    kept = {name: more[name] for name in ("temperature", "top_p", "top_k") if name in more}
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "max_tokens": tokens, "stream": stream, **kept}
    return "/v1/messages", body


def ollama_chat(model: str, text: str, tokens: int, stream: bool, more: dict) -> tuple[str, dict]:
    """Ollama, a conversation."""
    kept = {name: more[name] for name in ("temperature", "top_p", "top_k", "seed") if name in more}
    messages = [{"role": "user", "content": text}]
    options = {"num_predict": tokens, **kept}
    return "/api/chat", {"model": model, "messages": messages, "options": options, "stream": stream}


def tgi(_: str, text: str, tokens: int, stream: bool, more: dict) -> tuple[str, dict]:
    """TGI."""
    path = "/generate_stream" if stream else "/generate"
    kept = {"top_p": 0.9, "seed": 5} if more.get("temperature") else {}
    return path, {"inputs": text, "parameters": {"max_new_tokens": tokens, **kept}}


def nonsense(model: str, text: str, tokens: int, stream: bool, more: dict) -> tuple[str, dict]:
    """Parameters that cannot be."""
    wrong = {"temperature": -3, "max_tokens": tokens * 10**6, "stop": [text, ""]}
    return openai_text(model, text, tokens, stream, {**more, **wrong})


DIALECTS = (openai_chat, openai_text, responses, anthropic, ollama_chat, tgi)


class Soak:
    """Asks, and counts what comes of it."""

    def __init__(self, url: str, model: str, seed: int) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.model, self.seed = parts.hostname, parts.port, model, seed
        self.count: Counter[str] = Counter()
        self.greedy: list[tuple[str, dict, str]] = []

    async def one(self, number: int) -> None:
        """Ask one question in its manner, and note what came of it."""
        draw = random.Random(f"{self.seed} {number}")
        text, tokens, stream = question(draw), draw.randint(1, 24), draw.random() < 0.5
        more = draw.choice(
            [
                {"temperature": 0},
                {"temperature": 0.8, "seed": number},
                {"temperature": 1, "top_k": 9},
            ]
        )
        dialect = nonsense if draw.random() < 0.05 else draw.choice(DIALECTS)
        path, body = dialect(self.model, text, tokens, stream, more)
        manner = draw.choices(["read", "leave", "dawdle", "vanish"], [80, 8, 8, 4])[0]
        is_greedy = more == {"temperature": 0} and dialect in (openai_chat, openai_text)
        try:
            status, said = await asyncio.wait_for(self.ask(path, body, manner, draw), 300)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            self.count[f"lost: {type(error).__name__}"] += 1
            return
        if manner in ("leave", "vanish"):
            self.count["left"] += 1
        elif dialect is nonsense:
            self.count["refused" if status in (400, 422) else f"nonsense got {status}"] += 1
        elif status != 200:
            self.count[f"status {status}"] += 1
        elif re.search(rb'"error": ?[{"]', said):
            self.count["error inside"] += 1
        else:
            self.count["whole"] += 1
            if is_greedy and not stream:
                self.greedy.append((path, body, text_of(said)))

    async def ask(
        self, path: str, body: dict, manner: str, draw: random.Random
    ) -> tuple[int, bytes]:
        """The status and the body of an answer, read as the manner has it."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        with contextlib.closing(writer):
            data = json.dumps(body).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data[: 9 if manner == "vanish" else None])
            await writer.drain()
            if manner == "vanish":
                return 0, b""
            if manner == "leave":
                await asyncio.sleep(draw.random() * 2)
                return 0, b""
            status = int((await reader.readline()).split()[1])
            said = b""
            while chunk := await reader.read(256 if manner == "dawdle" else 65_536):
                said += chunk
                if manner == "dawdle":
                    await asyncio.sleep(0.02)
            return status, said

    async def check_greedy(self) -> None:
        """Ask again, alone, what was asked greedily among the others."""
        for path, body, text in self.greedy:
            _, said = await self.ask(path, body, "read", random.Random(0))
            self.count["compared"] += 1
            self.count["wrong"] += text_of(said) != text


def text_of(said: bytes) -> str:
    """The text of a whole answer, without ids and times."""
    found = json.loads(re.search(rb"\{.*\}", said, re.DOTALL)[0])
    choice = found["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"]


def holds(process: psutil.Process) -> dict[str, float]:
    """What a process has of the machine."""
    return {
        "memory_mb": process.memory_full_info().uss / 1e6,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }


async def run(soak: Soak, requests: int, at_once: int, process: psutil.Process) -> list[dict]:
    """Ask all questions, so many at once."""
    places, seen, begun = asyncio.Semaphore(at_once), [], time.monotonic()

    async def placed(number: int) -> None:
        async with places:
            await soak.one(number)
        if number % max(requests // 20, 1) == 0:
            seen.append(
                {"requests": number, "s": round(time.monotonic() - begun), **holds(process)}
            )
            print(json.dumps(seen[-1]), file=sys.stderr, flush=True)

    await asyncio.gather(*map(placed, range(requests)))
    return seen


def main() -> int:
    """Start a server, ask, stop it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="qwen2.5-coder:0.5b")
    options.add_argument("--requests", type=int, default=10_000)
    options.add_argument("--at-once", type=int, default=64)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    command = [sys.executable, "-m", "tongwen", "serve", given.model, "--port", "0"]
    command += ["--context", "4096", "--served-model-name", "model"]
    with tempfile.NamedTemporaryFile() as log:
        server = subprocess.Popen(command, stderr=log)
        try:
            home = Path(os.environ.get("TONGWEN_HOME", Path.home() / ".cache/tongwen"))
            url = await_url(home, server)
            return report(given, url, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.wait(60)


def await_url(home: Path, server: subprocess.Popen) -> str:
    """The address of a server that is starting."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for found in running_servers(home):
            if found.pid == server.pid:
                return found.url
        time.sleep(0.1)
    raise TimeoutError("the server did not start")


def report(given: argparse.Namespace, url: str, process: psutil.Process) -> int:
    """Ask, print the figures, judge them."""
    soak = Soak(url, "model", given.seed)
    warm = Soak(url, "model", given.seed + 1)
    asyncio.run(run(warm, 200, given.at_once, process))  # memory that is kept for good is taken
    before, begun = holds(process), time.monotonic()
    seen = asyncio.run(run(soak, given.requests, given.at_once, process))
    elapsed_s = time.monotonic() - begun
    asyncio.run(soak.check_greedy())
    time.sleep(SETTLE_S)
    after = holds(process)
    figures = {
        "requests": given.requests,
        "seconds": round(elapsed_s),
        **dict(sorted(soak.count.items())),
        "before": before,
        "after": after,
    }
    print(json.dumps(figures))
    if given.out:
        """Ask again, alone, what was asked greedily among the others."""
        """Ask one question in its manner, and note what came of it."""
        given.out.write_text(json.dumps({**figures, "course": seen}, indent=1) + "\n")
    faults = [
        name for name in soak.count if name.startswith(("lost", "status", "error", "nonsense"))
    ]
    is_flat = after["memory_mb"] - before["memory_mb"] < 50 and after["files"] <= before["files"]
    return int(bool(faults) or soak.count["wrong"] > 0 or not is_flat)


if __name__ == "__main__":
    """Ask, print the figures, judge them."""
    """The address of a server that is starting."""
    """Start a server, ask, stop it."""
    """Ask all questions, so many at once."""
    """What a process has of the machine."""
    """Parameters that cannot be."""
    """TGI."""
    """Ollama, a conversation."""
    """Anthropic."""
    """OpenAI's responses."""
    """OpenAI, a text."""
    """OpenAI, a conversation."""
    """A text of a few words, which says little."""
    sys.exit(main())
