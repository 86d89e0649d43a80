"""The scheduler under random traffic, without any model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from tests.engine.wishes import Crowd, Wish, scheduler_of, step, wish

from tongwen.engine.blocks import BlockPool
from tongwen.engine.scheduler import Scheduler, SchedulerConfig
from tongwen.errors import BusyError, ConfigError


class Traffic(Crowd):
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

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        most = self.scheduler.pool.num_tokens  # the engine admits nothing longer
        prompt = data.draw(st.integers(1, most - 1))
        self.join(wish(prompt, data.draw(st.integers(1, most - prompt))))

    @rule()
    def step(self) -> None:
        self.move(is_ordered=True)

    def teardown(self) -> None:
        finish(self.scheduler)
        assert self.scheduler.pool.num_free == self.scheduler.pool.num_blocks


def finish(scheduler: Scheduler) -> int:
    """Step until nothing is left; the oldest request moves in every step, which bounds them."""
    everyone = [*scheduler.running, *scheduler.waiting]
    # Each in its turn, alone, would take a step for every token that it has or wants.
    bound = sum(one.num_tokens + one.wanted for one in everyone if isinstance(one, Wish))
    steps = 0
    while scheduler.num_requests:
        assert steps < bound, "a request starves"
        step(scheduler, is_ordered=True)
        steps += 1
    return steps


Traffic.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_everyone_finishes_in_a_cache_that_holds_only_the_longest(
    sizes: list[tuple[int, int]],
) -> None:
    longest = max(prompt + wanted for prompt, wanted in sizes)
    scheduler = scheduler_of(blocks=longest, block_size=1, requests=4, tokens=4)
    wishes = [wish(prompt, wanted) for prompt, wanted in sizes]
    for one in wishes:
        scheduler.add(one)
    finish(scheduler)
    assert all(one.is_finished for one in wishes)


def test_decodes_come_first_and_prompts_share_the_rest() -> None:
    scheduler = scheduler_of(blocks=100, block_size=1, requests=4, tokens=10)
    long, short = wish(30, 5), wish(2, 5)
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
    first, big, small = (wish(n, 1) for n in (5, 6, 1))
    for one in (first, big, small):
        scheduler.add(one)
    assert [chunk.request for chunk in step(scheduler)] == [first]  # `small` does not overtake
    assert [chunk.request for chunk in step(scheduler)] == [big, small]


def test_the_youngest_is_preempted_keeps_its_tokens_and_is_the_next_to_start() -> None:
    scheduler = scheduler_of(blocks=6, block_size=1, requests=2, tokens=8)
    old, young, late = (wish(2, 4) for _ in range(3))
    for one in (old, young, late):
        scheduler.add(one)
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
    first, second = wish(8, 1), wish(5, 1)
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


def test_nothing_is_waited_for_where_as_many_wait_as_may() -> None:
    scheduler = scheduler_of(blocks=9, block_size=1, requests=1, tokens=9, max_waiting=2)
    first, second, third = wish(3), wish(3), wish(3)
    scheduler.add(first)
    scheduler.add(second)
    with pytest.raises(BusyError, match="2 requests are waiting, more may not"):
        scheduler.add(third)
    step(scheduler)
    scheduler.add(third)  # one has begun
    assert finish(scheduler) == 2


def test_a_reused_prefix_leaves_at_least_the_last_token_to_compute() -> None:
    for prompt, reused in ((7, 4), (8, 4), (9, 8), (4, 0), (5, 4), (1, 0)):
        scheduler = scheduler_of(blocks=20, block_size=4, requests=4, tokens=50)
        scheduler.add(Wish([1] * 12, 1, salt=b"here"))
        step(scheduler)
        late = Wish([1] * prompt, 2, salt=b"here")
        scheduler.add(late)
        (chunk,) = scheduler.schedule()
        assert (late.num_computed, chunk.num_tokens) == (reused, prompt - reused)


@pytest.mark.parametrize(
    "other",
    [{"salt": b"there"}, {"salt": b"here", "may_reuse": False}],
    ids=["another's", "computed anew"],
)
def test_a_prefix_is_reused_only_by_whoever_may(other: dict[str, object]) -> None:
    scheduler = scheduler_of(blocks=20, block_size=4, requests=4, tokens=50)
    scheduler.add(Wish([1] * 12, 1, salt=b"here"))
    step(scheduler)
    late = Wish([1] * 12, 1, **other)  # type: ignore[arg-type]
    scheduler.add(late)
    (chunk,) = scheduler.schedule()
    assert (late.num_computed, chunk.num_tokens) == (0, 12)


def test_without_a_prefix_cache_nothing_is_kept() -> None:
    scheduler = scheduler_of(blocks=9, block_size=4, requests=4, tokens=50, prefix_cache=False)
    scheduler.add(Wish([1] * 12, 1, salt=b"here"))
    step(scheduler)
    assert scheduler.pool.num_cached == 0


def forked(prompt: int) -> tuple[Scheduler, Wish, Wish]:
    """Two requests that share all of a prompt's blocks, of four tokens each."""
    scheduler = scheduler_of(blocks=20, block_size=4, requests=4, tokens=50)
    parent = wish(prompt, 9)
    scheduler.add(parent)
    step(scheduler)
    child = Wish([0] * prompt + [1], 9, salt=parent.salt)
    scheduler.fork(parent, child)
    scheduler.check()
    return scheduler, parent, child


def test_whoever_writes_first_to_a_shared_block_gets_a_copy_of_it() -> None:
    scheduler, parent, child = forked(6)
    shared = list(parent.block_table)
    assert child.block_table == shared
    scheduler.schedule()
    assert parent.block_table[0] == child.block_table[0] == shared[0]
    assert parent.block_table[1] != shared[1]
    assert child.block_table[1] == shared[1]  # the other is alone with it then
    assert scheduler.copies == [(shared[1], parent.block_table[1])]
    scheduler.check()


def test_a_full_shared_block_is_not_copied() -> None:
    scheduler, parent, child = forked(8)
    scheduler.schedule()
    assert scheduler.copies == []
    assert parent.block_table[:2] == child.block_table[:2]
    assert parent.block_table[2] != child.block_table[2]


def test_a_fork_waits_where_no_place_is_left_and_is_next() -> None:
    scheduler = scheduler_of(blocks=20, block_size=4, requests=1, tokens=50)
    parent, late = wish(6, 2), wish(3, 1)
    scheduler.add(parent)
    step(scheduler)
    scheduler.add(late)
    child = Wish([0] * 6 + [1], 1, salt=parent.salt)
    scheduler.fork(parent, child)
    assert list(scheduler.waiting) == [child, late]
    step(scheduler)
    assert parent.is_finished
    step(scheduler)
    assert child.is_finished
    assert child.num_tokens == 8


def test_drafts_are_counted_in_the_budget() -> None:
    scheduler = scheduler_of(blocks=50, block_size=1, requests=4, tokens=10)
    first, second = wish(2, 20), wish(2, 20)
    for one in (first, second):
        scheduler.add(one)
    step(scheduler)
    first.draft_ids, second.draft_ids = [1] * 5, [1] * 9
    chunks = scheduler.schedule()
    assert [(chunk.num_tokens, chunk.num_drafts) for chunk in chunks] == [(6, 5), (4, 3)]
    assert all(chunk.is_last for chunk in chunks)


def test_the_more_important_are_preempted_last() -> None:
    scheduler = scheduler_of(blocks=8, block_size=1, requests=3, tokens=8)
    important = wish(2, 6, priority=-1)
    old, young = wish(2, 6), wish(2, 6)
    for one in (old, young):
        scheduler.add(one)
    step(scheduler)
    scheduler.add(important)
    step(scheduler)
    assert scheduler.running == [old, young, important]
    step(scheduler)  # there is room for one more token
    assert scheduler.running == [old, important]
    while not important.is_finished:
        step(scheduler)
        assert important in scheduler.running or important.is_finished
    assert not old.is_finished
    finish(scheduler)


def test_the_more_important_start_first() -> None:
    scheduler = scheduler_of(blocks=90, block_size=1, requests=2, tokens=8)
    plain = [wish(2, 1) for _ in range(3)]
    for one in plain:
        scheduler.add(one)
    urgent, late = wish(2, 1, priority=-5), wish(2, 1, priority=5)
    scheduler.add(late)
    scheduler.add(urgent)
    begun: list[object] = []
    while scheduler.num_requests:
        begun += [chunk.request for chunk in step(scheduler)]
    assert begun == [urgent, *plain, late]
