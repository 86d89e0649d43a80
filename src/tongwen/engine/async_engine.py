"""The engine behind queues: one thread steps it, any number of coroutines await it.

caller ──ask──► inbox ──► engine thread: add, abort, step ──news──► the caller's queue
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion, Delta
from tongwen.engine.constraint import Constraint
from tongwen.engine.deltas import Listener
from tongwen.engine.engine import Engine
from tongwen.engine.load import Load
from tongwen.engine.params import SamplingParams
from tongwen.errors import EngineError, RequestError, TongwenError

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(eq=False)
class _Caller:
    """Somebody who waits for a prompt's completions."""

    loop: asyncio.AbstractEventLoop
    listeners: list[Listener] = field(default_factory=list)
    queue: "asyncio.Queue[Delta | TongwenError]" = field(default_factory=asyncio.Queue)

    def news(self) -> list[Delta | TongwenError]:
        """What is new."""
        news: list[Delta | TongwenError] = []
        for listener in self.listeners:
            try:
                news += listener.news()
            except TongwenError as error:
                news.append(error)
        return news

    @property
    def is_served(self) -> bool:
        """Whether everything has been told."""
        return all(listener.is_over for listener in self.listeners)


class Answers:
    """The completions of a prompt, as they are written; leaving the `with` ends them.

    Args:
        engine: The engine.
        caller: Who waits.
        num_completions: How many there will be.
    """

    def __init__(self, engine: "AsyncEngine", caller: _Caller, num_completions: int) -> None:
        self._engine, self._caller, self._left = engine, caller, num_completions

    async def __aenter__(self) -> "Answers":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """End what is not finished."""
        with contextlib.suppress(RequestError):  # closed: everybody has left
            self._engine.post(lambda: self._engine.dismiss(self._caller))

    async def news(self) -> list[Delta]:
        """The pieces since the last call, at least one; none at all: everything is told.

        Raises:
            TongwenError: A completion failed.
        """
        queue, pieces = self._caller.queue, list[Delta]()
        while self._left and not (pieces and queue.empty()):
            piece = await queue.get()
            if isinstance(piece, TongwenError):
                raise piece
            self._left -= piece.completion is not None
            pieces.append(piece)
        return pieces


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
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="tongwen-grammars")
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
        async with await self.open(prompt_ids, params, admission) as answers:
            while pieces := await answers.news():
                for piece in pieces:
                    yield piece

    async def open(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        admission: Admission | None = None,
    ) -> Answers:
        """Have a prompt admitted; what is written comes from what this returns.

        Raises:
            RequestError: It cannot be served.
            BusyError: Too many requests wait.
        """
        caller = _Caller(asyncio.get_running_loop())
        if params.constraint is not None:
            await self._prepare(params.constraint)
        try:
            count = await self.ask(lambda: self._begin(caller, prompt_ids, params, admission))
        except BaseException:  # cancelled, maybe while it was being admitted
            Answers(self, caller, 0).leave()
            raise
        return Answers(self, caller, count)

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

    async def _prepare(self, constraint: Constraint) -> None:
        """Compile a constraint beside the engine's thread: it may take seconds, everybody's."""
        try:
            compiled = self._compiler.submit(self.engine.prepare, constraint)
        except RuntimeError:  # shut down
            raise RequestError("the engine is closed") from None
        await asyncio.wrap_future(compiled)

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

        self.post(run)
        return await asyncio.wrap_future(future)

    def load(self) -> Load:
        """How much it does and holds at this moment; may be asked by anyone."""
        scheduler = self.engine.scheduler
        pool = scheduler.pool
        return Load(
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            num_preemptions=scheduler.num_preemptions,
            cache_share=1 - pool.num_free / pool.num_blocks,
        )

    def close(self) -> None:
        """End every request and the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._compiler.shutdown(wait=False, cancel_futures=True)
        self._thread.join()

    def post(self, work: Callable[[], None]) -> None:
        """Let the engine's thread do something between two steps.

        Raises:
            RequestError: The engine is closed.
        """
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

    def dismiss(self, caller: _Caller) -> None:
        """End what somebody waits for; in the engine's thread."""
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
        callers = list(self._callers)
        for caller in callers:
            self.dismiss(caller)
        self._tell(callers)

    def _work_off(self) -> None:
        """Do what was asked for."""
        while self._inbox:
            work = self._inbox.popleft()
            try:
                work()
            except Exception:
                log.exception("what a caller asked for failed")

    def _tell(self, callers: Sequence[_Caller]) -> None:
        """Send callers their news, all those of one event loop at once: waking it is what costs."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Caller]] = {}
        for caller in callers:
            by_loop.setdefault(caller.loop, []).append(caller)
        for loop, together in by_loop.items():
            news = [(caller.queue, piece) for caller in together for piece in caller.news()]
            try:
                if news:
                    loop.call_soon_threadsafe(_deliver, news)
            except RuntimeError:  # the loop has ended, and so has everyone in it
                for caller in together:
                    self.dismiss(caller)

    def _step(self) -> None:
        """One step; where the engine itself fails, everyone in it is told and it goes on."""
        try:
            self.engine.step()
        except Exception as error:
            log.exception("a step failed")
            told = error if isinstance(error, TongwenError) else _failure(error)
            for listener in [each for caller in self._callers for each in caller.listeners]:
                if not listener.request.is_finished:
                    self.engine.abort(listener.request)
                    listener.request.fail(told)
        self._tell(self._callers)
        self._callers = [caller for caller in self._callers if not caller.is_served]


def _deliver(
    news: "list[tuple[asyncio.Queue[Delta | TongwenError], Delta | TongwenError]]",
) -> None:
    """Put pieces into their callers' queues; in the loop that these belong to."""
    for queue, piece in news:
        queue.put_nowait(piece)


def _failure(error: Exception) -> EngineError:
    return EngineError(f"a step of the engine failed ({type(error).__name__}); the log says where")
