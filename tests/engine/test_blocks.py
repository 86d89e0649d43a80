"""The block pool under random traffic."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tongwen.engine.blocks import BlockPool
from tongwen.errors import CapacityError


class Traffic(RuleBasedStateMachine):
    """Holders take, share and give back blocks; the machine remembers who holds what."""

    @initialize(num_blocks=st.integers(1, 12), block_size=st.integers(1, 5))
    def begin(self, num_blocks: int, block_size: int) -> None:
        self.pool = BlockPool(num_blocks, block_size)
        self.tables: list[list[int]] = []

    @rule(count=st.integers(0, 14))
    def allocate(self, count: int) -> None:
        free = set(range(self.pool.num_blocks)).difference(*self.tables)
        assert self.pool.num_free == len(free)
        if count > len(free):
            with pytest.raises(CapacityError, match=f"{count} cache blocks.*{len(free)} are free"):
                self.pool.allocate(count)
        else:
            blocks = self.pool.allocate(count)
            assert blocks == sorted(free)[:count]  # the lowest, ascending
            self.tables.append(blocks)

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        table = data.draw(st.sampled_from(self.tables))
        self.pool.share(table)
        self.tables.append(list(table))

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.tables) - 1))
        self.pool.release(self.tables.pop(index))

    @invariant()
    def holders_are_as_recorded(self) -> None:
        self.pool.check(self.tables)

    def teardown(self) -> None:
        for table in self.tables:
            self.pool.release(table)
        self.pool.check([])
        assert self.pool.num_free == self.pool.num_blocks


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTraffic = Traffic.TestCase


def test_tokens_are_rounded_up_to_blocks() -> None:
    pool = BlockPool(10, 4)
    assert [pool.blocks_for(n) for n in (0, 1, 4, 5, 8, 9)] == [0, 1, 1, 2, 2, 3]
    assert pool.num_tokens == 40


def test_a_shared_block_is_free_when_its_last_holder_lets_go() -> None:
    pool = BlockPool(2, 4)
    blocks = pool.allocate(2)
    pool.share(blocks[:1])
    pool.release(blocks)
    assert pool.num_free == 1
    pool.release(blocks[:1])
    assert pool.num_free == 2


def test_giving_back_twice_is_caught() -> None:
    pool = BlockPool(2, 4)
    blocks = pool.allocate(1)
    pool.release(blocks)
    with pytest.raises(AssertionError, match="released but nobody holds it"):
        pool.release(blocks)
    with pytest.raises(AssertionError, match="shared but nobody holds it"):
        pool.share(blocks)


def test_the_check_finds_a_forgotten_holder() -> None:
    pool = BlockPool(3, 4)
    blocks = pool.allocate(2)
    with pytest.raises(AssertionError, match="holders counted"):
        pool.check([blocks[:1]])
