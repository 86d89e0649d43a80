"""The scheduler under random traffic, without any model."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tongwen.engine.blocks import BlockPool
from tongwen.engine.scheduler import Chunk, Scheduler, SchedulerConfig
from tongwen.errors import ConfigError


@dataclass(eq=False)
class Wish:
    """As much of a request as the scheduler knows, and how many tokens it still wants."""

    num_tokens: int
    wanted: int
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        return self.wanted == 0


def step(scheduler: Scheduler) -> list[Chunk]:
    """One step as the engine makes it: compute, append a token where a chunk is the last."""
    before = {id(r): r.num_computed for r in (*scheduler.running, *scheduler.waiting)}
    chunks = scheduler.schedule()
    scheduler.check()
    check_chunks(scheduler, chunks)
    ending = [chunk.request for chunk in chunks if chunk.is_last]
    scheduler.advance(chunks)
    scheduler.check()
    for chunk in chunks:
        request = chunk.request
        assert request.num_computed == before[id(request)] + chunk.num_tokens
    for request in ending:
        request.num_tokens += 1
        request.wanted -= 1
        if request.is_finished:
            scheduler.remove(request)
            assert not request.block_table
    scheduler.check()
    return chunks


def check_chunks(scheduler: Scheduler, chunks: list[Chunk]) -> None:
    requests = [chunk.request for chunk in chunks]
    assert sum(chunk.num_tokens for chunk in chunks) <= scheduler.config.max_batch_tokens
    assert len({id(request) for request in requests}) == len(requests)
    for chunk in chunks:
        request = chunk.request
        assert any(request is other for other in scheduler.running), "a chunk of a non-runner"
        assert 1 <= chunk.num_tokens <= request.num_tokens - request.num_computed
        slots = len(request.block_table) * scheduler.pool.block_size
        assert request.num_computed + chunk.num_tokens <= slots, "a token without a slot"
    unfinished = [r for r in scheduler.running if r.num_tokens - r.num_computed > 1]
    unfinished = [r for r in unfinished if not any(c.request is r and c.is_last for c in chunks)]
    assert unfinished in ([], scheduler.running[-1:]), "a prompt waits while a younger one runs"
    decodes = [chunk.request.num_tokens - chunk.request.num_computed == 1 for chunk in chunks]
    old = [request.num_computed > 0 for request in requests]
    running_decodes = [d for d, o in zip(decodes, old, strict=True) if o]
    assert running_decodes == sorted(running_decodes, reverse=True), "a decode after a prompt"


class Traffic(RuleBasedStateMachine):
    """Requests arrive, are aborted and finish; every one must."""

    @initialize(
        num_blocks=st.integers(2, 9),
        block_size=st.integers(1, 4),
        max_requests=st.integers(1, 4),
        more=st.integers(0, 9),
    )
    def begin(self, num_blocks: int, block_size: int, max_requests: int, more: int) -> None:
        config = SchedulerConfig(max_requests=max_requests, max_batch_tokens=max_requests + more)
        self.scheduler = Scheduler(config, BlockPool(num_blocks, block_size))
        self.alive: list[Wish] = []

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        most = self.scheduler.pool.num_tokens  # the engine admits nothing longer
        prompt = data.draw(st.integers(1, most - 1))
        wish = Wish(num_tokens=prompt, wanted=data.draw(st.integers(1, most - prompt)))
        self.alive.append(wish)
        self.scheduler.add(wish)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        wish = self.alive.pop(data.draw(st.integers(0, len(self.alive) - 1)))
        self.scheduler.remove(wish)
        self.scheduler.remove(wish)  # twice does no harm
        assert not wish.block_table

    @rule()
    def step(self) -> None:
        chunks = step(self.scheduler)
        assert bool(chunks) == bool(self.alive), "a step does something while there is anything"
        self.alive = [wish for wish in self.alive if not wish.is_finished]

    @invariant()
    def everyone_alive_is_known(self) -> None:
        self.scheduler.check()
        known = {id(r) for r in (*self.scheduler.waiting, *self.scheduler.running)}
        assert known == {id(wish) for wish in self.alive}
        assert self.scheduler.num_requests == len(self.alive)

    def teardown(self) -> None:
        finish(self.scheduler)
        assert self.scheduler.pool.num_free == self.scheduler.pool.num_blocks


def finish(scheduler: Scheduler) -> int:
    """Step until nothing is left; the oldest request moves in every step, which bounds them."""
    everyone = [*scheduler.running, *scheduler.waiting]
    # Each in its turn, alone, would take a step for every token that it has or wants.
    bound = sum(wish.num_tokens + wish.wanted for wish in everyone)
    steps = 0
    while scheduler.num_requests:
        assert steps < bound, "a request starves"
        step(scheduler)
        steps += 1
    return steps


Traffic.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase


def scheduler_of(*, blocks: int, block_size: int, requests: int, tokens: int) -> Scheduler:
    config = SchedulerConfig(max_requests=requests, max_batch_tokens=tokens)
    return Scheduler(config, BlockPool(blocks, block_size))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_everyone_finishes_in_a_cache_that_holds_only_the_longest(
    sizes: list[tuple[int, int]],
) -> None:
    longest = max(prompt + wanted for prompt, wanted in sizes)
    scheduler = scheduler_of(blocks=longest, block_size=1, requests=4, tokens=4)
    wishes = [Wish(num_tokens=prompt, wanted=wanted) for prompt, wanted in sizes]
    for wish in wishes:
        scheduler.add(wish)
    finish(scheduler)
    assert all(wish.is_finished for wish in wishes)


def test_decodes_come_first_and_prompts_share_the_rest() -> None:
    scheduler = scheduler_of(blocks=100, block_size=1, requests=4, tokens=10)
    long, short = Wish(num_tokens=30, wanted=5), Wish(num_tokens=2, wanted=5)
    scheduler.add(short)
    step(scheduler)
    scheduler.add(long)
    sizes = [
        [(chunk.request is short, chunk.num_tokens) for chunk in step(scheduler)] for _ in range(4)
    ]
    assert sizes[:3] == [[(True, 1), (False, 9)]] * 3
    assert sizes[3] == [(True, 1), (False, 3)]


def test_requests_start_in_the_order_of_arrival() -> None:
    scheduler = scheduler_of(blocks=9, block_size=1, requests=4, tokens=9)
    first, big, small = (Wish(num_tokens=n, wanted=1) for n in (5, 6, 1))
    for wish in (first, big, small):
        scheduler.add(wish)
    assert [chunk.request for chunk in step(scheduler)] == [first]  # `small` does not overtake
    assert [chunk.request for chunk in step(scheduler)] == [big, small]


def test_the_youngest_is_preempted_keeps_its_tokens_and_is_the_next_to_start() -> None:
    scheduler = scheduler_of(blocks=6, block_size=1, requests=2, tokens=8)
    old, young, late = (Wish(num_tokens=2, wanted=4) for _ in range(3))
    for wish in (old, young, late):
        scheduler.add(wish)
    step(scheduler)
    step(scheduler)
    assert young.num_tokens == 4
    assert [chunk.request for chunk in step(scheduler)] == [old]
    assert (young.num_computed, young.block_table, young.num_tokens) == (0, [], 4)
    assert list(scheduler.waiting) == [young, late]
    finish(scheduler)
    assert young.is_finished


def test_a_prompt_is_not_begun_in_blocks_that_another_prompt_will_need() -> None:
    scheduler = scheduler_of(blocks=10, block_size=1, requests=4, tokens=4)
    first, second = Wish(num_tokens=8, wanted=1), Wish(num_tokens=5, wanted=1)
    scheduler.add(first)
    scheduler.add(second)
    step(scheduler)  # 4 of the first prompt's 8 tokens: 6 blocks are free, but it will take 4
    assert scheduler.running == [first]
    assert list(scheduler.waiting) == [second]
    step(scheduler)
    assert first.is_finished


@pytest.mark.parametrize(("tokens", "requests"), [(3, 4), (0, 0), (5, 0)])
def test_a_budget_below_one_token_each_is_refused(tokens: int, requests: int) -> None:
    with pytest.raises(ConfigError, match=rf"\({tokens}\).*\({requests}\)"):
        SchedulerConfig(max_batch_tokens=tokens, max_requests=requests)
