"""What every handler works with: the models, who asks, the figures, and how an ask is answered."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from fastapi import Request

from tongwen.checkpoint.store import Store
from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion, Delta
from tongwen.errors import BusyError
from tongwen.server.backend import Answers
from tongwen.server.config import DerivedEntry, ServeConfig
from tongwen.server.door import visible
from tongwen.server.errors import RETRY, ApiError
from tongwen.server.facts import Look, ModelFacts
from tongwen.server.keys import Caller, Keys
from tongwen.server.metrics import Metrics
from tongwen.server.pool import Listed, ModelPool
from tongwen.server.served import Ask, CallReader, Served, off_loop
from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.tool_events import ToolEvent, gather

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MOST_PARTS, _PARTS_AT_ONCE = 2048, 64


@runtime_checkable
class Wish(Protocol):
    """What somebody asks of a model, in the words of a dialect."""

    @property
    def model(self) -> str:
        """Which model."""
        ...

    @property
    def length(self) -> int:
        """About how many characters it has."""
        ...

    def ask(self, served: Served) -> Ask:
        """The same in the words of the engine.

        Raises:
            TongwenError: It cannot be served.
        """
        ...


@dataclass(frozen=True, slots=True)
class Manner:
    """What comes with a wish."""

    caller: Caller
    priority: int = 0
    """Lower goes first."""

    salt: str | None = None
    """Who shares cached prefixes; `None`: only the caller."""

    keep_alive_s: float | None = None
    """How long the model stays in memory afterwards; `None`: as it is set."""

    is_patient: bool = False
    """Whether it may take as long as it takes: nobody waits on a connection."""


class Piece(NamedTuple):
    """A piece of an answer that is being written."""

    delta: Delta
    """The token, its place among the completions, and with the last one the whole completion."""

    events: list[ToolEvent]
    """What its text turns out to be: content, or parts of calls."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion, read."""

    completion: Completion
    text: str
    """What it says besides its calls."""

    calls: list[ToolCall]
    """The tools that it calls."""


@dataclass(frozen=True, slots=True)
class Done:
    """All completions of a wish."""

    served: Served
    ask: Ask
    answers: list[Answer]
    """In the order of their seeds."""

    @property
    def completions(self) -> list[Completion]:
        """The completions as the engine has them."""
        return [answer.completion for answer in self.answers]


@dataclass(frozen=True, slots=True)
class Opened:
    """A wish that was admitted and is being answered."""

    served: Served
    ask: Ask
    batches: AsyncIterator[list[Piece]]
    """The pieces, several at once where the reader is slow."""

    held: contextlib.AsyncExitStack = field(repr=False)
    """Closing it ends what is not finished, and lets go of the model."""


class Service:
    """A server's models, keys and figures.

    Args:
        config: What it was told.
        pool: The models.
        keys: Who may ask.
        store: Where models lie.
        look: Reads what the files of a model say.
    """

    def __init__(
        self, config: ServeConfig, pool: ModelPool, keys: Keys, store: Store, look: Look
    ) -> None:
        self.config, self.pool, self.keys, self.store = config, pool, keys, store
        self.metrics = Metrics(pool)
        self.is_draining = False
        self.num_running = 0
        self.started = int(time.time())
        self.facts = ModelFacts(store, look)

    def name_or_only(self, name: str | None) -> str:
        """A model's name, which may be left out where there is one model.

        Raises:
            ApiError: There are more.
        """
        if name is not None:
            return name
        entries = [e for e in self.pool.entries() if not isinstance(e, DerivedEntry)]
        if len(entries) != 1:
            raise ApiError(400, "`model` is missing", "missing_parameter", "model")
        return entries[0].names[0]

    @contextlib.asynccontextmanager
    async def lease(
        self, name: str | Listed, keep_alive_s: float | None = None
    ) -> AsyncIterator[Served]:
        """A model in memory, for as long as this lasts; for what asks it to write nothing.

        Args:
            name: As callers write it, or looked up.
            keep_alive_s: How long it stays afterwards; `None`: as it is set.

        Raises:
            ModelNotFoundError: There is no such model.
            ApiError: It did not come into memory in the time of a request (503).
            TongwenError: It cannot be loaded.
        """
        deadline = asyncio.get_running_loop().time() + self.config.limits.request_s
        async with contextlib.AsyncExitStack() as held:
            async with self._until(deadline):
                served = await held.enter_async_context(self.pool.lease(name, keep_alive_s))
            yield served

    async def open(
        self,
        wish: Wish,
        manner: Manner,
        *,
        listed: Listed | None = None,
        is_part: bool = False,
    ) -> Opened:
        """Have a wish admitted; whoever calls closes `Opened.held`.

        Args:
            wish: What is asked.
            manner: What comes with it.
            listed: Its model, where that was looked up before.
            is_part: Whether it is part of a request that was counted and has its place.

        Raises:
            TongwenError: It cannot be served.
            ApiError: The caller has used up what it may (429), or too many wait (503).
        """
        held = contextlib.AsyncExitStack()
        try:
            if not is_part:
                held.enter_context(self._place(manner))
            deadline = self._deadline(manner)
            lease = self.pool.lease(listed or wish.model, manner.keep_alive_s)
            async with self._until(deadline):
                served = await held.enter_async_context(lease)
            ask = await off_loop(lambda: served.with_defaults(wish.ask(served)), wish.length)
            served.check_length(ask, self.config.limits.prompt_tokens)
            if self.config.log_prompts:
                await off_loop(lambda: _log_prompt(served, ask, manner), wish.length)
            admission = Admission(
                caller=manner.caller.name,
                priority=_fair(manner),
                salt=manner.salt,
                pooling=ask.pooling,
            )
            answers = await served.engine.open(ask.prompt_ids, ask.params, admission)
            await held.enter_async_context(answers)
        except BaseException:
            await held.aclose()
            raise
        pieces = self._pieces(served, ask, self._in_time(answers, deadline), manner)
        return Opened(served, ask, pieces, held)

    async def complete_all(self, wishes: Sequence[Wish], manner: Manner) -> list[Done]:
        """Have the parts of one request answered, some at a time, in order.

        Raises:
            ApiError: There are too many of them.
            TongwenError: As `complete`; the others are given up then.
        """
        if len(wishes) > _MOST_PARTS:
            said = f"{len(wishes)} prompts in one request; at most {_MOST_PARTS} are taken"
            raise ApiError(400, said, "invalid_value")
        places = asyncio.Semaphore(_PARTS_AT_ONCE)
        models: dict[str, Listed] = {}

        async def complete(wish: Wish) -> Done:
            async with places:
                listed = models[wish.model]
                return await self.complete(wish, manner, listed=listed, is_part=True)

        with self._place(manner):
            models |= {name: self.pool.look_up(name) for name in {wish.model for wish in wishes}}
            return await together([complete(wish) for wish in wishes])

    async def complete(
        self,
        wish: Wish,
        manner: Manner,
        *,
        listed: Listed | None = None,
        is_part: bool = False,
    ) -> Done:
        """Have a wish answered; the arguments are those of `open`.

        Raises:
            TongwenError: As `open`, or it failed on the way.
        """
        opened = await self.open(wish, manner, listed=listed, is_part=is_part)
        events: dict[int, list[ToolEvent]] = {}
        done: dict[int, Completion] = {}
        async with opened.held:
            async for batch in opened.batches:
                for delta, read in batch:
                    events.setdefault(delta.index, []).extend(read)
                    if delta.completion is not None:
                        done[delta.index] = delta.completion
        answers = [Answer(done[index], *gather(events[index])) for index in sorted(done)]
        return Done(opened.served, opened.ask, answers)

    @contextlib.contextmanager
    def _place(self, manner: Manner) -> Iterator[None]:
        """A place among those that are served or wait, for a request that is counted."""
        self.keys.count_request(manner.caller)
        if self.num_running >= self.config.limits.waiting:
            raise BusyError(f"{self.num_running} requests are being served or wait, more may not")
        self.num_running += 1
        try:
            yield
        finally:
            self.num_running -= 1

    async def _pieces(
        self, served: Served, ask: Ask, news: AsyncIterator[list[Delta]], manner: Manner
    ) -> AsyncGenerator[list[Piece], None]:
        readers: dict[int, CallReader] = {}
        caller, prompt_tokens = manner.caller, len(ask.prompt_ids)
        self.keys.count_tokens(caller, prompt_tokens)
        async for deltas in news:
            pieces = []
            for delta in deltas:
                if delta.index not in readers:
                    readers[delta.index] = served.reader(ask)
                done = delta.completion
                read = readers[delta.index].read(delta.text, is_last=done is not None)
                pieces.append(Piece(delta, read))
                if done is not None:
                    self.metrics.count_completion(served.name, caller.name, done, prompt_tokens)
                    prompt_tokens = 0  # counted once for all completions
            written = sum(delta.token_id is not None for delta in deltas)
            self.keys.count_tokens(caller, written)  # now: the reader may leave before the end
            self.metrics.count_tokens(served.name, written)
            yield pieces

    async def _in_time(
        self, answers: Answers, deadline: float | None
    ) -> AsyncGenerator[list[Delta], None]:
        while True:
            async with self._until(deadline):
                deltas = await answers.news()
            if not deltas:
                return
            yield deltas

    def _deadline(self, manner: Manner) -> float | None:
        """When a request has taken too long, on the clock of the event loop."""
        if manner.is_patient:
            return None
        return asyncio.get_running_loop().time() + self.config.limits.request_s

    @contextlib.asynccontextmanager
    async def _until(self, deadline: float | None) -> AsyncIterator[None]:
        """Give up what is waited for inside at a deadline.

        Raises:
            ApiError: It is reached.
        """
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError:
            said = f"the request took longer than {self.config.limits.request_s:g} s"
            raise ApiError(503, said, "request_timeout", headers=RETRY) from None


def _fair(manner: Manner) -> int:
    """The priority that a caller may have: to go before others is for admins."""
    return manner.priority if manner.caller.is_admin else max(manner.priority, 0)


async def together(work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of all; where one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_prompt(served: Served, ask: Ask, manner: Manner) -> None:
    """Note what is asked, on one line, with its control tokens."""
    text = visible(served.llm.tokenizer.decode(ask.prompt_ids), most=None)
    log.info("%s asks %s: %s", manner.caller.name or "-", served.name, text)


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request) -> Caller:
    """Who sent a request; the door has looked at its key."""
    caller: Caller = request.scope["caller"]
    return caller
