"""Who computes what in the next step.  Plain Python, no tensors.

A step has a budget of tokens.  Running completions take one each, prompts share the rest in
chunks, first come first served.  When the cache is full, the youngest request gives its blocks
back and starts over later: its tokens are kept, only their keys and values are computed again.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from tongwen.engine.blocks import BlockPool
from tongwen.errors import ConfigError


@runtime_checkable
class Schedulable(Protocol):
    """What the scheduler needs to know of a request."""

    num_computed: int
    block_table: list[int]

    @property
    def num_tokens(self) -> int:
        """Tokens that it has, computed or not."""
        ...


class Chunk(NamedTuple):
    """The part of one request that one step computes."""

    request: Schedulable
    num_tokens: int

    @property
    def is_last(self) -> bool:
        """Whether the step ends with the request's last token, so that a new one is sampled."""
        return self.request.num_computed + self.num_tokens == self.request.num_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """How much one step may do."""

    max_batch_tokens: int = 512
    """Tokens computed in one step; a longer prompt takes several."""

    max_requests: int = 64
    """Requests in one step."""

    def __post_init__(self) -> None:
        if self.max_batch_tokens < self.max_requests or self.max_requests < 1:
            raise ConfigError(
                f"`max_batch_tokens` ({self.max_batch_tokens}) must be at least `max_requests` "
                f"({self.max_requests}), and that at least 1"
            )


class Scheduler:
    """Chooses the chunks of each step and gives each request its blocks."""

    def __init__(self, config: SchedulerConfig, pool: BlockPool) -> None:
        self.config, self.pool = config, pool
        self.waiting: deque[Schedulable] = deque()
        self.running: list[Schedulable] = []

    @property
    def num_requests(self) -> int:
        """Requests that are waiting or running."""
        return len(self.waiting) + len(self.running)

    def add(self, request: Schedulable) -> None:
        """Put a new request at the end of the queue."""
        self.waiting.append(request)

    def remove(self, request: Schedulable) -> None:
        """Forget a request, finished or aborted, and free its blocks."""
        if request in self.running:
            self.running.remove(request)
            self._release(request)
        elif request in self.waiting:
            self.waiting.remove(request)

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step, at most one a request; their slots are allocated."""
        budget = self.config.max_batch_tokens
        planned: dict[int, Chunk] = {}
        preempted = False
        for request in self._decodes_first():
            wanted = min(request.num_tokens - request.num_computed, budget)
            if request not in self.running or not wanted:
                continue  # preempted a moment ago by an older one, or no budget left
            for victim in self._make_room(request, wanted):
                preempted = True
                planned.pop(id(victim), None)
            if request in self.running:
                planned[id(request)] = Chunk(request, wanted)
                budget -= wanted
        # Whoever was preempted waits for at least one step, or two requests would swap forever.
        return [*planned.values(), *([] if preempted else self._admit(budget))]

    def advance(self, chunks: Iterable[Chunk]) -> None:
        """Record that a step was computed."""
        for chunk in chunks:
            chunk.request.num_computed += chunk.num_tokens

    def _decodes_first(self) -> list[Schedulable]:
        """Running requests, those that lack one token before those that lack more."""
        return sorted(self.running, key=lambda r: r.num_tokens - r.num_computed > 1)

    def _admit(self, budget: int) -> list[Chunk]:
        """Start waiting requests while budget, places and blocks last."""
        chunks: list[Chunk] = []
        while self.waiting and budget and len(self.running) < self.config.max_requests:
            request = self.waiting[0]
            wanted = min(request.num_tokens - request.num_computed, budget)
            if self.pool.num_free < self.pool.blocks_for(request.num_tokens):
                break  # the whole prompt must fit, or it would only preempt others
            self.running.append(self.waiting.popleft())
            self._grow(request, wanted)
            chunks.append(Chunk(request, wanted))
            budget -= wanted
        return chunks

    def _make_room(self, request: Schedulable, num_tokens: int) -> list[Schedulable]:
        """Give `request` blocks for `num_tokens` more; returns whom that preempted.

        The youngest go first; where that is `request` itself, it is among them.
        """
        victims: list[Schedulable] = []
        while self._missing(request, num_tokens) > self.pool.num_free:
            victims.append(self.running[-1])
            self._preempt(victims[-1])
            if victims[-1] is request:
                return victims
        self._grow(request, num_tokens)
        return victims

    def _missing(self, request: Schedulable, num_tokens: int) -> int:
        """Blocks that `request` lacks for `num_tokens` more."""
        return self.pool.blocks_for(request.num_computed + num_tokens) - len(request.block_table)

    def _grow(self, request: Schedulable, num_tokens: int) -> None:
        request.block_table.extend(self.pool.allocate(self._missing(request, num_tokens)))

    def _preempt(self, request: Schedulable) -> None:
        self.running.remove(request)
        self._release(request)
        self.waiting.appendleft(request)

    def _release(self, request: Schedulable) -> None:
        self.pool.release(request.block_table)
        request.block_table.clear()
        request.num_computed = 0

    def check(self) -> None:
        """Assert the invariants of requests and blocks; for tests, after every step."""
        everyone = [*self.waiting, *self.running]
        assert len({id(r) for r in everyone}) == len(everyone), "a request is in two places"
        assert len(self.running) <= self.config.max_requests, "more requests run than may"
        for request in self.waiting:
            assert not request.block_table, "a waiting request holds blocks"
            assert not request.num_computed, "a waiting request has computed tokens"
        for request in self.running:
            held = len(request.block_table)
            assert held >= self.pool.blocks_for(request.num_computed), "tokens without a block"
        self.pool.check([request.block_table for request in self.running])
