"""Who computes what in the next step.  Plain Python, no tensors.

A step has a budget of tokens.  Running completions take one each (and the tokens that were
drafted for them), prompts share the rest in chunks.  When the cache is full, the youngest of the
least important requests gives its blocks back and starts over later: its tokens are kept, only
their keys and values are computed again, less what the prefix cache still holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from tongwen.engine.blocks import BlockPool
from tongwen.engine.queue import FairQueue
from tongwen.errors import BusyError, ConfigError


@runtime_checkable
class Schedulable(Protocol):
    """What the scheduler needs to know of a request."""

    num_computed: int
    block_table: list[int]
    priority: int
    caller: str
    draft_ids: list[int]

    @property
    def num_tokens(self) -> int:
        """Tokens that it has, computed or not, without drafts."""
        ...

    @property
    def num_reusable(self) -> int:
        """Tokens of its beginning for which cached blocks will do; fewer than it has."""
        ...

    def block_keys(self, count: int, block_size: int) -> Sequence[bytes]:
        """Keys of its first `count` blocks, all of them full of tokens."""
        ...


class Chunk(NamedTuple):
    """The part of one request that one step computes."""

    request: Schedulable
    num_tokens: int
    num_drafts: int = 0
    """The last of these tokens, which nobody has sampled yet."""

    @property
    def is_last(self) -> bool:
        """Whether the step ends with the request's last token, so that a new one is sampled."""
        request = self.request
        return request.num_computed + self.num_tokens - self.num_drafts == request.num_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """How much one step may do, and how many may wait."""

    max_batch_tokens: int = 512
    """Tokens computed in one step; a longer prompt takes several."""

    max_requests: int = 64
    """Requests in one step."""

    max_waiting: int | None = None
    """Requests that may wait; `None`: any number."""

    prefix_cache: bool = True
    """Whether full blocks are kept for whoever begins alike."""

    def __post_init__(self) -> None:
        if self.max_batch_tokens < self.max_requests or self.max_requests < 1:
            raise ConfigError(
                f"`max_batch_tokens` ({self.max_batch_tokens}) must be at least `max_requests` "
                f"({self.max_requests}), and that at least 1"
            )


class Scheduler:
    """Chooses the chunks of each step and gives each request its blocks.

    Attributes:
        copies: Pairs of blocks (from, to) to be copied before the step is computed: someone writes
            on where others read the same block.  Whoever copies them clears the list.
        num_preemptions: How often a request gave its blocks back.
    """

    def __init__(self, config: SchedulerConfig, pool: BlockPool) -> None:
        self.config, self.pool = config, pool
        self.waiting: FairQueue[Schedulable] = FairQueue()
        self.running: list[Schedulable] = []
        self.copies: list[tuple[int, int]] = []
        self.num_preemptions = 0

    @property
    def num_requests(self) -> int:
        """Requests that are waiting or running."""
        return len(self.waiting) + len(self.running)

    def add(self, request: Schedulable) -> None:
        """Queue a new request.

        Raises:
            BusyError: As many wait as may.
        """
        most = self.config.max_waiting
        if most is not None and len(self.waiting) >= most:
            raise BusyError(f"{len(self.waiting)} requests are waiting, more may not", hint="retry")
        self.waiting.add(request)

    def fork(self, parent: Schedulable, child: Schedulable) -> None:
        """Let `child`, whose tokens begin like `parent`'s, go on from what is computed of those.

        Its last token is left to it: that is where its own first sample comes from.
        """
        if len(self.running) >= self.config.max_requests:
            self.waiting.put_back(child)
            return
        child.num_computed = min(parent.num_computed, child.num_tokens - 1)
        child.block_table = parent.block_table[: self.pool.blocks_for(child.num_computed)]
        self.pool.share(child.block_table)
        self.running.append(child)

    def remove(self, request: Schedulable) -> None:
        """Forget a request, finished or aborted, and free its blocks."""
        if request in self.running:
            self.running.remove(request)
            self._release(request)
        else:
            self.waiting.discard(request)

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step, at most one a request; their slots are allocated."""
        budget = self.config.max_batch_tokens
        planned: dict[int, Chunk] = {}
        preempted = False
        everyone = self._decodes_first()
        for place, request in enumerate(everyone):
            known = request.num_tokens - request.num_computed
            drafts = self._drafts(request, budget - known - (len(everyone) - place - 1))
            wanted = min(known + drafts, budget)
            if request not in self.running or not wanted:
                continue  # preempted a moment ago by a better one, or no budget left
            for victim in self._make_room(request, wanted):
                preempted = True
                planned.pop(id(victim), None)
            if request in self.running:
                planned[id(request)] = Chunk(request, wanted, drafts)
                budget -= wanted
        # Whoever was preempted waits for at least one step, or two requests would swap forever.
        return [*planned.values(), *([] if preempted else self._admit(budget))]

    def _drafts(self, request: Schedulable, room: int) -> int:
        """Drafts to verify: a guess takes no one else's token, nor anyone's blocks."""
        drafts = max(min(len(request.draft_ids), room), 0)
        known = request.num_tokens - request.num_computed
        return drafts if self._missing(request, known + drafts) <= self.pool.num_free else 0

    def advance(self, chunk: Chunk, num_computed: int | None = None) -> None:
        """Record that a chunk was computed, or that only `num_computed` tokens of it stand."""
        request, before = chunk.request, chunk.request.num_computed
        request.num_computed = before + chunk.num_tokens if num_computed is None else num_computed
        if self.config.prefix_cache and request.block_table:
            self._publish(request, before // self.pool.block_size)

    def _publish(self, request: Schedulable, first: int) -> None:
        """Let the blocks that have just become full be found."""
        full = request.num_computed // self.pool.block_size
        if full > first:
            keys = request.block_keys(full, self.pool.block_size)
            for index in range(first, full):
                self.pool.publish(request.block_table[index], keys[index])

    def _decodes_first(self) -> list[Schedulable]:
        """Running requests, those that lack one token before those that lack more."""
        return sorted(self.running, key=lambda r: (r.num_tokens - r.num_computed > 1, r.priority))

    def _admit(self, budget: int) -> list[Chunk]:
        """Start waiting requests while budget, places and blocks last."""
        chunks: list[Chunk] = []
        while budget and len(self.running) < self.config.max_requests:
            request = self.waiting.first()
            if request is None or not self._start(request):
                break
            wanted = min(request.num_tokens - request.num_computed, budget)
            self._grow(request, wanted)
            chunks.append(Chunk(request, wanted))
            budget -= wanted
        return chunks

    def _start(self, request: Schedulable) -> bool:
        """Move the first in the queue to the running ones, if its whole prompt fits."""
        reused = self._reusable(request)
        if self.pool.num_free < self.pool.blocks_for(request.num_tokens) - len(reused):
            self.pool.release(reused)
            return False  # it would only preempt others
        self.waiting.pop()
        self.running.append(request)
        request.block_table = reused
        request.num_computed = len(reused) * self.pool.block_size
        return True

    def _reusable(self, request: Schedulable) -> list[int]:
        """Cached blocks of its beginning."""
        count = request.num_reusable // self.pool.block_size
        if not self.config.prefix_cache or not count:
            return []
        return self.pool.match(request.block_keys(count, self.pool.block_size))

    def _make_room(self, request: Schedulable, num_tokens: int) -> list[Schedulable]:
        """Give `request` blocks for `num_tokens` more; returns whom that preempted.

        The youngest of the least important go first; where that is `request` itself, it is among
        them.
        """
        victims: list[Schedulable] = []
        while self._missing(request, num_tokens) > self.pool.num_free:
            _, last = max((other.priority, place) for place, other in enumerate(self.running))
            victims.append(self.running[last])
            self._preempt(victims[-1])
            if victims[-1] is request:
                return victims
        self._grow(request, num_tokens)
        return victims

    def _missing(self, request: Schedulable, num_tokens: int) -> int:
        """Blocks that `request` lacks for `num_tokens` more."""
        lacking = self.pool.blocks_for(request.num_computed + num_tokens) - len(request.block_table)
        return max(lacking, 0) + (self._shared_tail(request) is not None)

    def _shared_tail(self, request: Schedulable) -> int | None:
        """Place of the block that `request` would write to, where others read it."""
        place, table = request.num_computed // self.pool.block_size, request.block_table
        return None if place >= len(table) or self.pool.may_write(table[place]) else place

    def _grow(self, request: Schedulable, num_tokens: int) -> None:
        shared = self._shared_tail(request)
        blocks = self.pool.allocate(self._missing(request, num_tokens))
        if shared is not None:
            own, read = blocks.pop(0), request.block_table[shared]
            self.copies.append((read, own))
            request.block_table[shared] = own
            self.pool.release([read])
        request.block_table.extend(blocks)

    def _preempt(self, request: Schedulable) -> None:
        self.running.remove(request)
        self._release(request)
        self.waiting.put_back(request)
        self.num_preemptions += 1

    def _release(self, request: Schedulable) -> None:
        self.pool.release(request.block_table)
        request.block_table = []
        request.num_computed = 0
        request.draft_ids = []

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
