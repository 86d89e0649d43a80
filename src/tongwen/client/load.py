"""A load offered to an endpoint over HTTP, by a client that hardly works itself; no torch.

It speaks HTTP/1.1 on sockets of its own: of a stream it notes when parts come, and reads no more of
them than their beginnings and the end.
"""

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx2

from tongwen.client.address import bearer
from tongwen.client.endpoint import Described, describe
from tongwen.client.http import HttpClient
from tongwen.client.wire import message_of
from tongwen.engine.params import SamplingParams
from tongwen.engine.traffic import Goals, Latencies, Load, Run, Timing, latencies, spread
from tongwen.errors import SourceError

_TAIL_BYTES = 4_096
_REQUEST_S = 600.0
_WORDS = "the of and to in is that for it as was with be by on not he his but at are this have from"
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointSpeed:
    """A load offered to an endpoint; rates are medians of the repeats."""

    work: str
    endpoint: str
    prompts: str
    """`ids`: of exactly the length that was asked for; `text`: of so many words."""

    tokens: int
    """Output tokens that one repeat asks for."""

    tokens_per_s: float
    """Output tokens over the time from the first arrival to the last token."""

    spread: float
    """Difference of the fastest and the slowest repeat, as a share of the median."""

    repeats: int
    numerics: str | None
    """`None`: the endpoint does not tell."""

    client_share: float
    """Processor seconds a second that the client took: far below 1, or it is what was measured."""

    load: Load
    latencies: Latencies


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes."""

    url: httpx2.URL
    """Of completions."""

    model: Described
    headers: dict[str, str]

    def head(self, length: int) -> bytes:
        """The head of a request with a body of so many bytes."""
        lines = [
            f"POST {self.url.raw_path.decode()} HTTP/1.1",
            f"Host: {self.url.netloc.decode()}",
            "Content-Type: application/json",
            f"Content-Length: {length}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def bodies(self, load: Load, run: int) -> list[bytes]:
        """What the requests of a run say."""
        wish: dict[str, Any] = {
            "model": self.model.name,
            "max_tokens": load.completion_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.model.speaks_ids:
            wish |= {"ignore_eos": True, "repetition_penalty": 1.0}
        return [json.dumps({**wish, "prompt": each}).encode() for each in self._prompts(load, run)]

    def _prompts(self, load: Load, run: int) -> Sequence[list[int] | str]:
        if self.model.takes_ids and self.model.vocab_size is not None:
            return load.prompts(run, self.model.vocab_size)
        words = _WORDS.split()
        numbers = load.prompts(run, 1 << 30)
        return [" ".join(words[n % len(words)] for n in each) for each in numbers]


async def measure_endpoint(
    endpoint: str,
    model: str | None,
    load: Load,
    *,
    api_key: str | None = None,
    repeats: int = 5,
    goals: Goals | None = None,
) -> tuple[str, EndpointSpeed]:
    """Offer `load` to an OpenAI-compatible server, once for warmth and `repeats` times.

    Returns:
        The model's name there, and the figures.

    Raises:
        TongwenError: The endpoint does not answer, or refuses every request of a run.
    """
    target = await find_target(endpoint, model, api_key)
    runs, busy_s, began_s = list[Run](), 0.0, 0.0
    for number in range(repeats + 1):
        if number == 1:  # the first run does not count
            busy_s, began_s = time.process_time(), time.perf_counter()
        runs.append(await offer(target, load, number))
    share = (time.process_time() - busy_s) / (time.perf_counter() - began_s)
    rates = [run.tokens_per_s for run in runs[1:]]
    return target.model.name, EndpointSpeed(
        work="serve",
        endpoint=endpoint,
        prompts="ids" if target.model.takes_ids else "text",
        tokens=load.requests * load.completion_tokens,
        tokens_per_s=round(median(rates), 2),
        spread=spread(rates),
        repeats=repeats,
        numerics=target.model.numerics,
        client_share=round(share, 3),
        load=load,
        latencies=latencies(runs[1:], goals or Goals()),
    )


async def find_target(endpoint: str, model: str | None, api_key: str | None) -> Target:
    """The model that is meant, which answers once: it is in memory then.

    Raises:
        TongwenError: It does not answer.
    """
    finder = HttpClient(endpoint, model or "", api_key=api_key)
    try:
        name = (await describe(finder, model)).name
        asker = HttpClient(endpoint, name, api_key=api_key)
        try:
            await asker.ask("the", SamplingParams(max_tokens=1, temperature=0))
        finally:
            await asker.close()
        url = httpx2.URL(f"{finder.endpoint}/completions")
        return Target(url, await describe(finder, name), bearer(api_key))
    finally:
        await finder.close()


async def offer(target: Target, load: Load, run: int = 0) -> Run:
    """One run of a load.

    Raises:
        SourceError: No request of it was answered.
    """
    bodies, started_s = target.bodies(load, run), time.perf_counter()
    asked = (
        _one(target, body, due_s, started_s)
        for body, due_s in zip(bodies, load.arrivals_s(run), strict=True)
    )
    found = await asyncio.gather(*asked)
    timings = [each for each in found if isinstance(each, Timing)]
    failures = [each for each in found if isinstance(each, str)]
    if not timings:
        raise SourceError(f"no request of {len(failures)} was answered: {failures[0]}")
    return Run(timings, failures)


async def _one(target: Target, body: bytes, due_s: float, started_s: float) -> Timing | str:
    """When what happened to a request, or why nothing did."""
    await asyncio.sleep(started_s + due_s - time.perf_counter())
    try:
        async with asyncio.timeout(_REQUEST_S):
            return await _exchange(target, body, due_s, started_s)
    except (OSError, EOFError, ValueError) as error:
        return str(error) or type(error).__name__


async def _exchange(target: Target, body: bytes, due_s: float, started_s: float) -> Timing:
    url = target.url
    is_tls = url.scheme == "https"
    context = ssl.create_default_context() if is_tls else None
    port = url.port or (443 if is_tls else 80)
    reader, writer = await asyncio.open_connection(url.host, port, ssl=context)
    try:
        writer.write(target.head(len(body)) + body)
        first_s, last_s, events, tail = 0.0, 0.0, 0, b""
        async for part in _parts(reader):
            if count := part.count(b'"text"'):
                last_s = time.perf_counter() - started_s
                first_s, events = first_s or last_s, events + count
            tail = (tail + part)[-_TAIL_BYTES:]
    finally:
        writer.close()
    if not events or b"[DONE]" not in tail:
        raise ValueError(f"a stream broke off: {tail[-200:].decode('utf-8', 'replace').strip()}")
    told = _COMPLETION_TOKENS.findall(tail)
    return Timing(due_s, first_s, last_s, int(told[-1]) if told else events)


async def _parts(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """The parts of an answer's body.

    Raises:
        ValueError: It is a refusal.
        EOFError: It breaks off.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.partition(b" ")[2][:3].decode("latin-1") or "no HTTP"
    is_chunked = b"transfer-encoding: chunked" in head
    parts = _chunks(reader) if is_chunked else _rest(reader)
    if status != "200":
        raise ValueError(f"{status}: {message_of(b''.join([part async for part in parts]))}")
    async for part in parts:
        yield part


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    while size := int((await reader.readline()).partition(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _rest(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    while part := await reader.read(1 << 16):
        yield part
