"""The blocks of the cache: who holds which, and which hold what someone may want again.

Plain Python, no tensors.

        free ──allocate──► held ──release──► free        a block without a key
          ▲                 ▲  │
        evict             match release                   a block that was published under a key
          │                 │  ▼
          └────────────── idle (least recently used first)
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from tongwen.errors import CapacityError


class BlockPool:
    """A fixed number of blocks of `block_size` tokens.

    A block may have several holders: `share` adds one, `release` takes one away.  A full block can
    be published under a key that says everything its contents depend on; without holders it then
    stays `idle` and can be found again by `match`, until its memory is needed.

    The lowest free blocks are given first, ascending, so that a lone request's blocks lie side by
    side.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._free = list(range(num_blocks))  # a heap
        self._holders = [0] * num_blocks
        self._block_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds, those that still hold something included."""
        return len(self._free) + len(self._idle)

    @property
    def num_cached(self) -> int:
        """Blocks that can be found by their key."""
        return len(self._key_of)

    @property
    def num_tokens(self) -> int:
        """Tokens that all blocks together hold."""
        return self.num_blocks * self.block_size

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` take."""
        return -(-num_tokens // self.block_size)

    def may_write(self, block: int) -> bool:
        """Whether a block has one holder and cannot be found by others."""
        return self._holders[block] == 1 and block not in self._key_of

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks: free ones, lowest first, then the idle ones unused for longest.

        Raises:
            CapacityError: Fewer are free; ask `num_free` first.
        """
        if count > self.num_free:
            raise CapacityError(f"{count} cache blocks wanted, {self.num_free} are free")
        blocks = [self._take() for _ in range(count)]
        for block in blocks:
            self._holders[block] = 1
        return blocks

    def _take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        block, _ = self._idle.popitem(last=False)
        del self._block_of[self._key_of.pop(block)]
        return block

    def share(self, blocks: Iterable[int]) -> None:
        """Add a holder to each of these held blocks."""
        for block in blocks:
            assert self._holders[block], f"block {block} is shared but nobody holds it"
            self._holders[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of blocks of one request, given in order; the last ones are evicted first."""
        for block in reversed(blocks):
            assert self._holders[block], f"block {block} is released but nobody holds it"
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._key_of:
                self._idle[block] = None
            else:
                heapq.heappush(self._free, block)

    # ---- the prefix cache

    def publish(self, block: int, key: bytes) -> None:
        """Let a held block, now full, be found; where another has the key, that one is found."""
        assert self._holders[block], f"block {block} is published but nobody holds it"
        if key not in self._block_of and block not in self._key_of:
            self._block_of[key], self._key_of[block] = block, key

    def match(self, keys: Iterable[bytes]) -> list[int]:
        """Blocks of the longest run of `keys` from the first on; the caller now holds them."""
        blocks: list[int] = []
        for key in keys:
            block = self._block_of.get(key)
            if block is None:
                break
            self._idle.pop(block, None)
            self._holders[block] += 1
            blocks.append(block)
        return blocks

    def forget(self) -> None:
        """Nothing of what is cached will be found again: the weights have changed."""
        for block in self._idle:
            heapq.heappush(self._free, block)
        self._idle.clear()
        self._block_of.clear()
        self._key_of.clear()

    def check(self, tables: list[list[int]]) -> None:
        """Assert that free, idle and held blocks are all blocks, and that `tables` hold them."""
        held = [0] * self.num_blocks
        for table in tables:
            for block in table:
                held[block] += 1
        assert held == self._holders, "holders counted differ from holders recorded"
        unheld = [block for block, count in enumerate(held) if not count]
        assert sorted([*self._free, *self._idle]) == unheld, (
            "a free block is held, or one that nobody holds is neither free nor idle"
        )
        assert {b: k for k, b in self._block_of.items()} == self._key_of, "keys and blocks differ"
        assert set(self._idle) <= set(self._key_of), "an idle block has no key"
        assert not set(self._free) & set(self._key_of), "a free block has a key"
