"""Servers for a browser: our own, and one that answers what a test tells it to."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tongwen.checkpoint.store import Store
from tongwen.cli.facts import read_facts
from tongwen.cli.serving import load_served
from tongwen.server.app import create_app
from tongwen.server.config import ServeConfig
from tongwen.server.listen import bind
from tongwen.server.main import make_service
from tongwen.server.page import pages


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of an application that is served while the context lasts."""
    listening = bind(ServeConfig(port=0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def ours(config: ServeConfig, store: Store) -> FastAPI:
    """The application that `tongwen serve` serves."""
    look = partial(read_facts, cache=store.home / "tokenizers")
    load = partial(load_served, home=store.home)
    return create_app(make_service(config, store, load, look))


@dataclass
class StandIn:
    """A server of OpenAI's dialect that says what it is told, and knows what it was asked."""

    answers: list[str] = field(default_factory=list)
    """What is said to one question after another; the last is said to all that follow."""

    piece: int = 7
    """Characters in each chunk."""

    pause_s: float = 0.0
    """Between chunks."""

    refusals: list[tuple[int, str]] = field(default_factory=list)
    """Status and message of the next answers, before any that is said."""

    fault: str | None = None
    """What an error event says after the first chunk."""

    is_cut: bool = False
    """Whether streams end without their last event."""

    finish_reason: str = "stop"
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    """Every path that anybody asked for."""

    num_left: int = 0
    """Streams whose reader left before their end."""

    def app(self) -> FastAPI:
        app = FastAPI()
        app.include_router(pages.router)
        app.get("/v1/models")(self.models)
        app.post("/v1/chat/completions")(self.complete)

        @app.middleware("http")
        async def note(request: Request, go_on: Any) -> Response:
            self.paths.append(request.url.path)
            return await go_on(request)

        return app

    async def models(self) -> Response:
        names = ("qwen2.5:0.5b-instruct", "qwen2.5:7b-instruct")
        data = [{"id": name, "object": "model", "context_length": 32_768} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def complete(self, request: Request) -> Response:
        self.asked.append(await request.json())
        if self.refusals:
            status, message = self.refusals.pop(0)
            return JSONResponse({"error": {"message": message}}, status)
        text = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return StreamingResponse(self._events(text), media_type="text/event-stream")

    async def _events(self, text: str) -> AsyncIterator[bytes]:
        pieces = [text[i : i + self.piece] for i in range(0, len(text), self.piece)]
        done = 0
        try:
            for done, piece in enumerate(pieces, 1):
                usage = {"prompt_tokens": 9, "completion_tokens": done, "total_tokens": 9 + done}
                yield _chunk({"content": piece}, None, usage)
                if self.fault is not None:
                    yield _event({"error": {"message": self.fault}})
                    return
                await asyncio.sleep(self.pause_s)
        finally:
            self.num_left += done < len(pieces)
        if self.is_cut:
            return
        yield _chunk({}, self.finish_reason, None) + b"data: [DONE]\n\n"


def _chunk(delta: dict[str, str], finish_reason: str | None, usage: dict[str, int] | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event({"object": "chat.completion.chunk", "choices": [choice], "usage": usage})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
