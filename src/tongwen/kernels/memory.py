"""Memory that kernels read and write."""

import mmap
import sys

import torch
from jaxtyping import UInt8
from torch import Tensor

ALIGNMENT = 64
"""Bytes; panels begin at a cache line."""

SLACK = 8_192
"""Bytes after the last panel that prefetches may touch."""


def aligned_bytes(count: int) -> UInt8[Tensor, " bytes"]:
    """Memory for panels, beginning at a cache line."""
    whole = torch.empty(count + ALIGNMENT + SLACK, dtype=torch.uint8)
    offset = -whole.data_ptr() % ALIGNMENT
    return whole[offset : offset + count]


def untouched_zeros(count: int) -> UInt8[Tensor, " bytes"]:
    """Zeros that take no memory before they are written to, beginning at a page."""
    if sys.platform == "win32":
        return torch.zeros(count, dtype=torch.uint8)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return torch.frombuffer(mmap.mmap(-1, count, flags=private), dtype=torch.uint8)


class Ring:
    """Memory that is handed out in turn, and again when all has been.

    A recorded step's results must stay where they are for as long as it may be replayed, but each
    is read only shortly after it is written: a ring of a few blocks' worth holds them all.
    """

    def __init__(self, num_values: int) -> None:
        self._values = torch.empty(num_values + ALIGNMENT)
        self._next, self._end = 0, len(self._values)

    def begin(self, num_values: int) -> None:
        """Hand out the first `num_values` only, from the start: what was handed out is done with.

        A step of few rows then stays in the memory that it needs, which others have touched before.
        """
        self._next, self._end = 0, min(num_values + ALIGNMENT, len(self._values))

    def empty(self, *shape: int) -> Tensor:
        """The next piece."""
        count = 1
        for size in shape:
            count *= size
        assert count <= self._end, "a result is larger than the ring"
        if self._next + count > self._end:
            self._next = 0
        piece = self._values[self._next : self._next + count].view(shape)
        self._next += -(-count // 16) * 16
        return piece
