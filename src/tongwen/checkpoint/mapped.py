"""Files mapped into memory, whose pages can be given back before the file is done with."""

import mmap
import sys
import warnings
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

Part = tuple[str, UInt8[Tensor, "rows bytes"]]
"""Some rows of a matrix, as they are stored, after the GGML name of their format."""

_LARGE_PAGE = 2 << 20


class Mapped:
    """The bytes of a file, read when they are touched.

    Args:
        path: The file; it has a byte at least.
        writable: Whether tensors of it may be written to; what is written stays in memory.
    """

    bytes: UInt8[Tensor, " bytes"]

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=access)
        self._size, self._is_writable = len(self._map), writable
        with warnings.catch_warnings():
            # torch knows no read-only tensors and says so; a writable private mapping would be
            # refused for files larger than memory.
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            self.bytes = torch.frombuffer(self._map, dtype=torch.uint8)

    def expect(self) -> None:
        """Begin to read the file, where it is not in memory, while something else is done."""
        if sys.platform == "linux":
            self._map.madvise(mmap.MADV_WILLNEED)

    def forget(self, first: int, last: int) -> None:
        """Give back the memory of bytes that were read; the next touch reads them again.

        Of a file that cannot be written to, also what the kernel mapped with them: it maps the
        whole of a large page.  Of one that can, only whole pages: the others may hold more than
        was read.

        Args:
            first: Where they begin; they were never written to.
            last: Where the bytes after them begin.
        """
        if self._is_writable:
            first, last = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, _floor(last)
        else:
            first, last = _floor(max(first - _LARGE_PAGE, 0)), min(last + _LARGE_PAGE, self._size)
        if sys.platform == "linux" and last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


def _floor(place: int) -> int:
    """The beginning of a byte's page."""
    return place // mmap.PAGESIZE * mmap.PAGESIZE
