"""Requests without a model: as much as the scheduler knows, and a cache that remembers tokens."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tongwen.engine.blocks import BlockPool
from tongwen.engine.scheduler import Chunk, Scheduler, SchedulerConfig


@dataclass(eq=False)
class Wish:
    """A request of the scheduler, and how many tokens it still wants."""

    tokens: list[int]
    wanted: int
    priority: int = 0
    caller: str = ""
    salt: bytes = field(default_factory=lambda: os.urandom(8))
    """Whoever has the same shares cached blocks."""

    may_reuse: bool = True
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)
    draft_ids: list[int] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_reusable(self) -> int:
        return self.num_tokens - 1 if self.may_reuse else 0

    @property
    def is_finished(self) -> bool:
        return self.wanted == 0

    def block_keys(self, count: int, block_size: int) -> Sequence[bytes]:
        assert count * block_size <= len(self.tokens), "a key for a block that is not full"
        ends = range(block_size, (count + 1) * block_size, block_size)
        return [self.salt + bytes(self.tokens[:end]) for end in ends]


def wish(num_tokens: int, wanted: int = 1, **more: Any) -> Wish:
    """A request whose cached blocks are nobody else's."""
    return Wish([0] * num_tokens, wanted, **more)


def scheduler_of(
    *, blocks: int, block_size: int, requests: int, tokens: int, **more: Any
) -> Scheduler:
    """A scheduler with a pool of its own."""
    config = SchedulerConfig(max_requests=requests, max_batch_tokens=tokens, **more)
    return Scheduler(config, BlockPool(blocks, block_size))


class Memory:
    """What the cache's slots would hold: of each the tokens up to its own."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.size = scheduler, scheduler.pool.block_size
        self.slots: dict[int, bytes] = {}

    def compute(self, chunks: Sequence[Chunk]) -> None:
        """Do as a step does: copy, write everyone's new tokens, then read all of everyone's."""
        for source, target in self.scheduler.copies:
            for offset in range(self.size):
                value = self.slots.get(source * self.size + offset, b"")
                self.slots[target * self.size + offset] = value
        self.scheduler.copies.clear()
        for chunk in chunks:
            self._write(chunk)
        for chunk in chunks:
            self._read(chunk)

    def _line(self, chunk: Chunk) -> tuple[Wish, bytes]:
        request = chunk.request
        assert isinstance(request, Wish)
        return request, request.salt + bytes(request.tokens + request.draft_ids)

    def _slot(self, request: Wish, position: int) -> int:
        block = request.block_table[position // self.size]
        return block * self.size + position % self.size

    def _write(self, chunk: Chunk) -> None:
        request, line = self._line(chunk)
        for position in range(request.num_computed, request.num_computed + chunk.num_tokens):
            block = request.block_table[position // self.size]
            holders = [r for r in self.scheduler.running if block in r.block_table]
            assert holders == [request], "a block that others read is written to"
            assert block not in self.scheduler.pool._key_of, "a published block is written to"
            self.slots[self._slot(request, position)] = line[: len(request.salt) + position + 1]

    def _read(self, chunk: Chunk) -> None:
        request, line = self._line(chunk)
        for position in range(request.num_computed + chunk.num_tokens):
            found = self.slots[self._slot(request, position)]
            assert found == line[: len(request.salt) + position + 1], "another's tokens are read"


def step(
    scheduler: Scheduler,
    memory: Memory | None = None,
    random: Random | None = None,
    *,
    is_ordered: bool = False,
) -> list[Chunk]:
    """One step as the engine makes it: compute, append a token where a chunk is the last.

    Args:
        scheduler: Whose step.
        memory: What its blocks hold.
        random: Decides how many drafts prove right, and whether a token is 0 or 1.
        is_ordered: All are equally important, and nobody drafts or shares.
    """
    before = {id(r): r.num_computed for r in (*scheduler.running, *scheduler.waiting)}
    chunks = scheduler.schedule()
    scheduler.check()
    check_chunks(scheduler, chunks)
    if is_ordered:
        check_order(scheduler, chunks, {key for key, computed in before.items() if computed})
    if memory is not None:
        memory.compute(chunks)
    for chunk in chunks:
        request = chunk.request
        assert isinstance(request, Wish)
        start = request.num_computed
        may_reuse = before[id(request)] == 0 and scheduler.config.prefix_cache
        assert start == before[id(request)] or may_reuse
        if chunk.is_last:
            _sample(scheduler, chunk, request, random)
        else:
            scheduler.advance(chunk)
            assert request.num_computed == start + chunk.num_tokens
        scheduler.check()
        if request.is_finished:
            scheduler.remove(request)
            assert not request.block_table
    scheduler.check()
    return chunks


def _sample(scheduler: Scheduler, chunk: Chunk, request: Wish, random: Random | None) -> None:
    known = request.num_tokens
    drafts, request.draft_ids = request.draft_ids[: chunk.num_drafts], []
    right = random.randint(0, len(drafts)) if random else 0
    right = min(right, request.wanted - 1)
    following = random.randint(0, 1) if random else 0
    if right < len(drafts):
        following = 1 - drafts[right]
    request.tokens += [*drafts[:right], following]
    request.wanted -= right + 1
    scheduler.advance(chunk, known + right)
    assert request.num_computed == known + right


def check_chunks(scheduler: Scheduler, chunks: list[Chunk]) -> None:
    """Assert what holds of the chunks of any step."""
    requests = [chunk.request for chunk in chunks]
    assert sum(chunk.num_tokens for chunk in chunks) <= scheduler.config.max_batch_tokens
    assert len({id(request) for request in requests}) == len(requests)
    for chunk in chunks:
        request = chunk.request
        assert any(request is other for other in scheduler.running), "a chunk of a non-runner"
        assert 0 <= chunk.num_drafts <= len(request.draft_ids)
        assert 1 <= chunk.num_tokens - chunk.num_drafts <= request.num_tokens - request.num_computed
        assert chunk.is_last or not chunk.num_drafts, "drafts before the last known token"
        slots = len(request.block_table) * scheduler.pool.block_size
        assert request.num_computed + chunk.num_tokens <= slots, "a token without a slot"


def check_order(scheduler: Scheduler, chunks: list[Chunk], old: set[int]) -> None:
    """Assert what holds besides where all are equally important and nobody drafts."""
    unfinished = [r for r in scheduler.running if r.num_tokens - r.num_computed > 1]
    unfinished = [r for r in unfinished if not any(c.request is r and c.is_last for c in chunks)]
    assert unfinished in ([], scheduler.running[-1:]), "a prompt waits while a younger one runs"
    decodes = [
        chunk.request.num_tokens - chunk.request.num_computed == 1
        for chunk in chunks
        if id(chunk.request) in old
    ]
    assert decodes == sorted(decodes, reverse=True), "a decode after a prompt"


class Crowd(RuleBasedStateMachine):
    """Requests that are aborted at any time; whoever inherits lets them arrive and move."""

    scheduler: Scheduler

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[Wish] = []

    def join(self, one: Wish) -> None:
        self.alive.append(one)
        self.scheduler.add(one)

    def move(self, *given: Any, **more: Any) -> None:
        """One step, with what `step` is given."""
        chunks = step(self.scheduler, *given, **more)
        assert bool(chunks) == bool(self.alive), "a step does something while there is anything"
        self.alive = [one for one in self.alive if not one.is_finished]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        one = self.alive.pop(data.draw(st.integers(0, len(self.alive) - 1)))
        self.scheduler.remove(one)
        self.scheduler.remove(one)  # twice does no harm
        assert not one.block_table

    @invariant()
    def everyone_alive_is_known(self) -> None:
        self.scheduler.check()
        known = {id(r) for r in (*self.scheduler.waiting, *self.scheduler.running)}
        assert known == {id(one) for one in self.alive}
        assert self.scheduler.num_requests == len(self.alive)
