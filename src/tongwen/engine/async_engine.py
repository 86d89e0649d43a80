"""The engine behind queues: one thread steps it, any number of coroutines await it.

caller ──ask──► inbox ──► engine thread: add, abort, step ──news──► the caller's queue
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from tongwen.engine.admit import Admission
from tongwen.engine.deltas import Delta, Listener
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Completion
from tongwen.errors import RequestError, TongwenError

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(eq=False)
class _Caller:
    """Somebody who waits for a prompt's completions."""

    loop: asyncio.AbstractEventLoop
    listeners: list[Listener] = field(default_factory=list)
    queue: "asyncio.Queue[Delta | TongwenError]" = field(default_factory=asyncio.Queue)

    def tell(self) -> None:
        """Send what is new; the queue belongs to the caller's loop.

        Raises:
            RuntimeError: That loop is closed.
        """
        for listener in self.listeners:
            try:
                news: list[Delta | TongwenError] = list(listener.news())
            except TongwenError as error:
                news = [error]
            for piece in news:
                self.loop.call_soon_threadsafe(self.queue.put_nowait, piece)

    @property
    def is_served(self) -> bool:
        """Whether everything has been told."""
        return all(listener.is_over for listener in self.listeners)


class AsyncEngine:
    """Steps an engine in a thread of its own for as long as anyone waits.

    Only that thread touches the engine.  What is asked of it is done between two steps.

    Args:
        engine: Nobody else may step it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._callers: list[_Caller] = []
        self._closing = self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="tongwen-engine", daemon=True)
        self._thread.start()

    async def stream(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        admission: Admission | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """Complete a prompt piece by piece; closing the iterator ends its completions.

        Raises:
            RequestError: It cannot be served.
            BusyError: Too many requests wait.
            TongwenError: It failed on the way.
        """
        caller = _Caller(asyncio.get_running_loop())
        try:
            left = await self.ask(lambda: self._begin(caller, prompt_ids, params, admission))
            while left:
                piece = await caller.queue.get()
                if isinstance(piece, TongwenError):
                    raise piece
                left -= piece.completion is not None
                yield piece
        finally:
            with contextlib.suppress(RequestError):  # closed: everybody has left
                self._post(lambda: self._leave(caller))

    async def complete(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        admission: Admission | None = None,
    ) -> list[Completion]:
        """All completions of a prompt, in the order of their seeds.

        Raises:
            TongwenError: As `stream`.
        """
        done: dict[int, Completion] = {}
        async for piece in self.stream(prompt_ids, params, admission):
            if piece.completion is not None:
                done[piece.index] = piece.completion
        return [done[index] for index in sorted(done)]

    async def ask(self, work: Callable[[], T]) -> T:
        """Let the engine's thread do something between two steps, and wait for its result."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return  # nobody waits any more
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

        self._post(run)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End every request and the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _post(self, work: Callable[[], None]) -> None:
        with self._wake:
            if self._is_over:
                raise RequestError("the engine is closed")
            self._inbox.append(work)
            self._wake.notify()

    def _begin(
        self,
        caller: _Caller,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        admission: Admission | None,
    ) -> int:
        """Queue the prompt; returns how many completions there will be."""
        if self._closing:
            raise RequestError("the engine is closing")
        leader = self.engine.add(prompt_ids, params, admission)
        requests = [leader, *leader.followers]
        caller.listeners = [Listener(request, index) for index, request in enumerate(requests)]
        self._callers.append(caller)
        return len(requests)

    def _leave(self, caller: _Caller) -> None:
        for listener in caller.listeners:
            self.engine.abort(listener.request)
        if caller in self._callers:
            self._callers.remove(caller)

    def _serve(self) -> None:
        while not self._closing:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._inbox or self._closing or self.engine.has_requests
                )
            self._work_off()
            self._step()
        with self._wake:
            self._is_over = True
        self._work_off()  # what came in meanwhile is answered: the engine is closing
        for caller in list(self._callers):
            self._leave(caller)
            self._tell(caller)

    def _work_off(self) -> None:
        """Do what was asked for."""
        while self._inbox:
            work = self._inbox.popleft()
            try:
                work()
            except Exception:
                log.exception("what a caller asked for failed")

    def _tell(self, caller: _Caller) -> None:
        """Send a caller its news; one whose event loop has ended leaves."""
        try:
            caller.tell()
        except RuntimeError:
            self._leave(caller)

    def _step(self) -> None:
        """One step; where the engine itself fails, everyone in it is told and it goes on."""
        try:
            self.engine.step()
        except Exception as error:
            log.exception("a step failed")
            told = error if isinstance(error, TongwenError) else RequestError(f"failed: {error!r}")
            for listener in [each for caller in self._callers for each in caller.listeners]:
                if not listener.request.is_finished:
                    self.engine.abort(listener.request)
                    listener.request.fail(told)
        for caller in list(self._callers):
            self._tell(caller)
        self._callers = [caller for caller in self._callers if not caller.is_served]
