"""Streams of events, and answers that end when nobody waits for them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

Result = TypeVar("Result")

DONE = b"data: [DONE]\n\n"
EVENTS, LINES = "text/event-stream", "application/x-ndjson"
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class GoneError(Exception):
    """Whoever asked has left."""


class HeldStream(StreamingResponse):
    """A stream of parts, after which something is let go of, however the stream ends.

    Args:
        parts: What is sent, as it comes.
        held: Closed at the end; also where the client left before the first part.
        media_type: `EVENTS` or `LINES`.
    """

    def __init__(
        self, parts: AsyncIterator[bytes], held: contextlib.AsyncExitStack, media_type: str = EVENTS
    ) -> None:
        super().__init__(parts, media_type=media_type, headers=_UNBUFFERED)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._held:
            await super().__call__(scope, receive, send)


def to_json(value: object) -> bytes:
    """JSON on one line, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(value: object, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + to_json(value) + b"\n\n"


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of work, which is cancelled when the client leaves.

    Raises:
        GoneError: It left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise GoneError
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
