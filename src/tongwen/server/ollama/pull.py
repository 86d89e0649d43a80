"""`POST /api/pull`: models are fetched while the client watches, and no longer."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.model_names import ModelName, parse_stored
from tongwen.checkpoint.pull import PullPlan
from tongwen.checkpoint.store import Store
from tongwen.errors import ModelNotFoundError, RequestError
from tongwen.server.errors import ApiError, api_error, unsupported
from tongwen.server.ollama.errors import not_found, ollama_error
from tongwen.server.ollama.names import Empty, NamedWire, check_open, untagged
from tongwen.server.service import Service, service_of
from tongwen.server.sse import LINES, HeldStream, to_json, unless_gone
from tongwen.server.wire import JsonRoute

router = APIRouter(route_class=JsonRoute, tags=["Ollama"])

_EVERY_S = 0.1
SUCCESS = {"status": "success"}


class PullRequest(NamedWire):
    """A model to be fetched."""

    stream: bool | None = None
    insecure: bool | None = None
    username: Empty = None
    password: Empty = None


@router.post("/api/pull")
async def pull(request: Request, body: PullRequest) -> Response:
    """Fetch a model; where the client leaves, the next pull goes on from there."""
    if body.insecure:
        raise unsupported("insecure", "sources are asked over TLS")
    service = service_of(request)
    served = {name for entry in service.pool.entries() for name in entry.names}
    is_here = not served.isdisjoint({body.called, untagged(body.called)})
    steps = _no_steps() if is_here else _steps(service, stored_name(body.called))
    return await answer_steps(request, steps, is_streamed=body.stream is not False)


async def _no_steps() -> AsyncGenerator[dict[str, Any], None]:
    yield {"status": "pulling manifest"}
    yield SUCCESS


async def _steps(service: Service, name: ModelName) -> AsyncGenerator[dict[str, Any], None]:
    known = {each for entry in service.pool.entries() for each in (entry.model, *entry.names)}
    if name.text not in known:
        check_open(service)
    async with contextlib.aclosing(fetched(service.store, name)) as steps:
        async for step in steps:
            yield step
    yield SUCCESS


async def answer_steps(
    request: Request, steps: AsyncGenerator[dict[str, Any], None], *, is_streamed: bool
) -> Response:
    """What is done step by step, as a stream, or its last step."""
    if not is_streamed:
        return JSONResponse(await unless_gone(request, _last(steps)))
    held = contextlib.AsyncExitStack()
    held.push_async_callback(steps.aclose)
    first = await anext(steps)  # what is refused at once is refused with its status
    return HeldStream(_lines(first, steps), held, LINES)


async def _lines(
    first: dict[str, Any], steps: AsyncIterator[dict[str, Any]]
) -> AsyncIterator[bytes]:
    try:
        yield to_json(first) + b"\n"
        async for step in steps:
            yield to_json(step) + b"\n"
    except Exception as error:
        yield to_json(ollama_error(api_error(error))) + b"\n"


async def _last(steps: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    async with contextlib.aclosing(steps):
        return [step async for step in steps][-1]


def stored_name(text: str) -> ModelName:
    """The name of a model that can be fetched; never a file.

    Raises:
        ApiError: It is none (404).
    """
    try:
        return parse_stored(untagged(text))
    except ModelNotFoundError as error:
        raise ApiError(404, f"{not_found(text).message}: {error.message}", "model_not_found") from (
            error
        )


async def fetched(store: Store, name: ModelName) -> AsyncGenerator[dict[str, Any], None]:
    """Fetch a model, in steps as Ollama tells them; ends where nobody asks for the next.

    Raises:
        TongwenError: As `Store.pull`.
    """
    yield {"status": "pulling manifest"}
    watch = _Watch(asyncio.get_running_loop())
    threads = ThreadPoolExecutor(1, "pull")  # of its own: pulls last, and others need threads too
    work = asyncio.get_running_loop().run_in_executor(threads, watch.pull, store, name)
    work.add_done_callback(lambda _: watch.news.set())
    try:
        while not work.done():
            await watch.news.wait()
            watch.news.clear()
            if (step := watch.step()) is not None:
                yield step
                await asyncio.sleep(_EVERY_S)
        local = await work
    finally:
        watch.has_left.set()
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        threads.shutdown(wait=False)
    if not local.path.is_relative_to(store.home):
        raise RequestError(
            f"`{name}` lies in the cache of another tool, at `{local.path}` ({local.source})",
            hint=f"`tongwen serve {name}` serves it from there",
        )
    if (last := watch.step()) is not None:
        yield last
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}


class _LeftError(Exception):
    """Whoever watched a pull has left."""


class _Watch:
    """What the thread of a pull tells the event loop.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.news, self.has_left = asyncio.Event(), threading.Event()
        self._loop = loop
        self._plan: PullPlan | None = None
        self._bytes: tuple[int, int] | None = None

    def pull(self, store: Store, name: ModelName) -> LocalModel:
        """Fetch it; called in a thread."""
        return store.pull(name, progress=self._progress, confirm=self._confirm)

    def step(self) -> dict[str, Any] | None:
        """Where the pull stands."""
        if self._plan is None or self._bytes is None:
            return None
        what = f"{self._plan.repo} {self._plan.revision} {' '.join(self._plan.files)}"
        digest = hashlib.sha256(what.encode()).hexdigest()  # of the plan: files have one each
        done, total = self._bytes
        step = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}"}
        return {**step, "total": total, "completed": done}

    def _confirm(self, plan: PullPlan) -> bool:
        self._plan = plan
        return not self.has_left.is_set()

    def _progress(self, done_bytes: int, total_bytes: int) -> None:
        if self.has_left.is_set():
            raise _LeftError
        self._bytes = (done_bytes, total_bytes)
        self._loop.call_soon_threadsafe(self.news.set)
