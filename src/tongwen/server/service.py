"""What every handler works with: the models, who asks, the figures, and how an ask is answered."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from fastapi import Request

from tongwen.checkpoint.store import Store
from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion, Delta
from tongwen.errors import BusyError
from tongwen.server.backend import Answers
from tongwen.server.config import DerivedEntry, ServeConfig
from tongwen.server.errors import RETRY, ApiError
from tongwen.server.facts import Look, ModelFacts
from tongwen.server.keys import Caller, Keys
from tongwen.server.metrics import Metrics
from tongwen.server.pool import ModelPool
from tongwen.server.served import Ask, CallReader, Served, off_loop
from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.tool_events import ToolEvent, gather


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
        entries = [e for e in self.pool.entries() if not isinstance(e, DerivedEntry)]
        if name is None and len(entries) != 1:
            raise ApiError(400, "`model` is missing", "missing_parameter", "model")
        return entries[0].names[0] if name is None else name

    async def open(self, wish: Wish, manner: Manner) -> Opened:
        """Have a wish admitted; whoever calls closes `Opened.held`.

        Raises:
            TongwenError: It cannot be served.
            ApiError: The caller has used up what it may (429), or too many wait (503).
        """
        held = contextlib.AsyncExitStack()
        try:
            self.keys.count_request(manner.caller)
            held.enter_context(self._place())
            lease = self.pool.lease(wish.model, manner.keep_alive_s)
            served = await held.enter_async_context(lease)
            ask = await off_loop(lambda: served.with_defaults(wish.ask(served)), wish.length)
            served.check_length(ask, self.config.limits.prompt_tokens)
            admission = Admission(
                caller=manner.caller.name,
                priority=manner.priority,
                salt=manner.salt,
                pooling=ask.pooling,
            )
            answers = await served.engine.open(ask.prompt_ids, ask.params, admission)
            await held.enter_async_context(answers)
        except BaseException:
            await held.aclose()
            raise
        return Opened(served, ask, self._pieces(served, ask, answers, manner), held)

    async def complete(self, wish: Wish, manner: Manner) -> Done:
        """Have a wish answered.

        Raises:
            TongwenError: As `open`, or it failed on the way.
        """
        opened = await self.open(wish, manner)
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
    def _place(self) -> Iterator[None]:
        """A place among those that are served or wait."""
        if self.num_running >= self.config.limits.waiting:
            raise BusyError(f"{self.num_running} requests are being served or wait, more may not")
        self.num_running += 1
        try:
            yield
        finally:
            self.num_running -= 1

    async def _pieces(
        self, served: Served, ask: Ask, answers: Answers, manner: Manner
    ) -> AsyncGenerator[list[Piece], None]:
        readers: dict[int, CallReader] = {}
        prompt_tokens = len(ask.prompt_ids)
        async for deltas in self._in_time(answers):
            pieces = []
            for delta in deltas:
                if delta.index not in readers:
                    readers[delta.index] = served.reader(ask)
                done = delta.completion
                read = readers[delta.index].read(delta.text, is_last=done is not None)
                pieces.append(Piece(delta, read))
                if done is not None:
                    self._count(served, done, manner, prompt_tokens)
                    prompt_tokens = 0  # counted once for all completions
            self.metrics.count_tokens(served.name, sum(d.token_id is not None for d in deltas))
            yield pieces

    async def _in_time(self, answers: Answers) -> AsyncGenerator[list[Delta], None]:
        limit_s = self.config.limits.request_s
        deadline = asyncio.get_running_loop().time() + limit_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    deltas = await answers.news()
            except TimeoutError:
                said = f"the request took longer than {limit_s:g} s"
                raise ApiError(503, said, "request_timeout", headers=RETRY) from None
            if not deltas:
                return
            yield deltas

    def _count(self, served: Served, done: Completion, manner: Manner, prompt_tokens: int) -> None:
        self.keys.count_tokens(manner.caller, prompt_tokens + len(done.token_ids))
        self.metrics.count_completion(served.name, manner.caller.name, done, prompt_tokens)


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request) -> Caller:
    """Who sent a request; the door has looked at its key."""
    caller: Caller = request.scope["caller"]
    return caller
