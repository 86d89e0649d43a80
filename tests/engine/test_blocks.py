"""The block pool under random traffic."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tongwen.engine.blocks import BlockPool
from tongwen.errors import CapacityError


class Traffic(RuleBasedStateMachine):
    """Holders take, share, publish, find and give back blocks; the machine remembers all of it."""

    @initialize(num_blocks=st.integers(1, 12), block_size=st.integers(1, 5))
    def begin(self, num_blocks: int, block_size: int) -> None:
        self.pool = BlockPool(num_blocks, block_size)
        self.tables: list[list[int]] = []
        self.keys: dict[bytes, int] = {}  # what can be found
        self.idle: list[int] = []  # the one unused for longest first
        self.count = 0

    @property
    def held(self) -> set[int]:
        return set().union(*self.tables)

    @rule(count=st.integers(0, 14))
    def allocate(self, count: int) -> None:
        unheld = set(range(self.pool.num_blocks)) - self.held
        assert self.pool.num_free == len(unheld)
        if count > len(unheld):
            with pytest.raises(CapacityError, match=f"{count} cache blocks.*{len(unheld)} are fr"):
                self.pool.allocate(count)
            return
        blocks = self.pool.allocate(count)
        empty = sorted(unheld - set(self.idle))
        assert blocks == [*empty, *self.idle][:count]  # the lowest, then the longest unused
        evicted, self.idle = set(blocks) & set(self.idle), self.idle[max(count - len(empty), 0) :]
        self.keys = {key: block for key, block in self.keys.items() if block not in evicted}
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
        table = self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1)))
        self.pool.release(table)
        held, cached = self.held, set(self.keys.values())
        self.idle += [block for block in reversed(table) if block in cached and block not in held]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), again=st.booleans())
    def publish(self, data: st.DataObject, again: bool) -> None:
        block = data.draw(st.sampled_from(sorted(self.held)))
        self.count += 1
        key = data.draw(st.sampled_from(sorted(self.keys))) if again and self.keys else b""
        key = key or b"%d" % self.count
        self.pool.publish(block, key)
        if block not in self.keys.values():
            self.keys.setdefault(key, block)

    @rule(data=st.data())
    def match(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.sampled_from([*sorted(self.keys), b"none"]), unique=True))
        expected = [self.keys.get(key) for key in keys]
        expected = expected[: expected.index(None)] if None in expected else expected
        assert self.pool.match(keys) == expected
        found = [block for block in expected if block is not None]
        self.idle = [block for block in self.idle if block not in found]
        self.tables.append(found)

    @rule()
    def forget(self) -> None:
        self.pool.forget()
        self.keys, self.idle = {}, []

    @invariant()
    def holders_are_as_recorded(self) -> None:
        self.pool.check(self.tables)
        assert self.pool.num_cached == len(self.keys)
        for block in range(self.pool.num_blocks):
            holders = sum(table.count(block) for table in self.tables)
            assert self.pool.may_write(block) == (holders == 1 and block not in self.keys.values())

    def teardown(self) -> None:
        for table in self.tables:
            self.pool.release(table)
        self.pool.check([])
        assert self.pool.num_free == self.pool.num_blocks


Traffic.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
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


def published(pool: BlockPool, keys: list[bytes]) -> list[int]:
    """Blocks that were published and let go."""
    blocks = pool.allocate(len(keys))
    for block, key in zip(blocks, keys, strict=True):
        pool.publish(block, key)
    pool.release(blocks)
    return blocks


def test_a_match_is_the_longest_run_from_the_first_key() -> None:
    pool = BlockPool(8, 4)
    blocks = published(pool, [b"a", b"b", b"c"])
    assert pool.match([b"a", b"b", b"x", b"c"]) == blocks[:2]
    assert pool.match([b"x", b"a"]) == []
    pool.check([blocks[:2]])


def test_the_tail_of_what_is_unused_for_longest_is_evicted_first() -> None:
    pool = BlockPool(6, 4)
    old, new = published(pool, [b"1", b"2", b"3"]), published(pool, [b"4", b"5", b"6"])
    pool.release(pool.match([b"1", b"2"]))  # used again: only its tail is old
    assert pool.allocate(6) == [old[2], new[2], new[1], new[0], old[1], old[0]]


def test_a_block_in_use_is_never_evicted() -> None:
    pool = BlockPool(4, 4)
    published(pool, [b"a", b"b", b"c"])
    used = pool.match([b"a", b"b"])
    assert not set(pool.allocate(2)) & set(used)
    with pytest.raises(CapacityError, match="1 cache blocks wanted, 0 are free"):
        pool.allocate(1)
    assert pool.match([b"a", b"b", b"c"]) == used


def test_free_blocks_go_before_cached_ones() -> None:
    pool = BlockPool(4, 4)
    published(pool, [b"a", b"b"])
    assert pool.allocate(2) == [2, 3]
    assert pool.num_cached == 2


def test_what_is_forgotten_is_not_found_though_it_is_held() -> None:
    pool = BlockPool(4, 4)
    published(pool, [b"a", b"b"])
    held = pool.match([b"a"])
    pool.forget()
    assert pool.match([b"a"]) == []
    assert pool.num_free == 3
    pool.publish(held[0], b"a'")
    assert pool.match([b"a'"]) == held


def test_the_first_published_under_a_key_is_the_one_that_is_found() -> None:
    pool = BlockPool(4, 4)
    first, second = pool.allocate(1), pool.allocate(1)
    pool.publish(first[0], b"a")
    pool.publish(second[0], b"a")
    assert pool.match([b"a"]) == first
    pool.release(second)
    assert pool.allocate(3) == [1, 2, 3]
