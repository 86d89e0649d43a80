"""The blocks of the cache: who holds which.  Plain Python, no tensors."""

import heapq

from tongwen.errors import CapacityError


class BlockPool:
    """A fixed number of blocks of `block_size` tokens, each free or held by someone.

    The lowest free blocks are given first, ascending, so that a lone request's blocks lie side
    by side.  A block may have several holders (`share`); it is free when the last lets go.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._free = list(range(num_blocks))  # a heap
        self._holders = [0] * num_blocks

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def num_tokens(self) -> int:
        """Tokens that all blocks together hold."""
        return self.num_blocks * self.block_size

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` take."""
        return -(-num_tokens // self.block_size)

    def allocate(self, count: int) -> list[int]:
        """Take `count` free blocks, lowest first.

        Raises:
            CapacityError: Fewer are free; ask `num_free` first.
        """
        if count > len(self._free):
            raise CapacityError(f"{count} cache blocks wanted, {len(self._free)} are free")
        blocks = [heapq.heappop(self._free) for _ in range(count)]
        for block in blocks:
            self._holders[block] = 1
        return blocks

    def share(self, blocks: list[int]) -> None:
        """Add a holder to each of these held blocks."""
        for block in blocks:
            assert self._holders[block], f"block {block} is shared but nobody holds it"
            self._holders[block] += 1

    def release(self, blocks: list[int]) -> None:
        """Let go of blocks; those without a holder become free."""
        for block in blocks:
            assert self._holders[block], f"block {block} is released but nobody holds it"
            self._holders[block] -= 1
            if not self._holders[block]:
                heapq.heappush(self._free, block)

    def check(self, tables: list[list[int]]) -> None:
        """Assert that free and held blocks are all blocks, and that `tables` are the holders."""
        held = [0] * self.num_blocks
        for table in tables:
            for block in table:
                held[block] += 1
        assert held == self._holders, "holders counted differ from holders recorded"
        assert sorted(self._free) == [b for b, n in enumerate(held) if not n], (
            "a free block is held, or one that nobody holds is not free"
        )
