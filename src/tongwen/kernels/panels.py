"""Weights in panels: what the native kernels multiply with (`native/formats.hpp`)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

FORMATS = ("Q8_0", "Q4_0", "Q5_0", "Q6_K", "Q4_K", "Q4_1", "Q5_1", "Q5_K", "BF16")
"""Weight formats with native products, in the order of their numbers."""

STORED = (*FORMATS, "F32", "F16")
"""Formats that weights may be packed from, likewise."""

PANEL_ROWS = 64
"""Rows of a matrix that lie together."""


class Packed(NamedTuple):
    """A weight matrix in panels, as the kernels read it (`native/formats.hpp`)."""

    format: int
    panels: UInt8[Tensor, " bytes"]
    rows: int
    columns: int


class Stacked(NamedTuple):
    """The same matrix of every expert, in panels."""

    format: int
    addresses: Int[Tensor, " experts"]
    """Of the panels, as the kernels read them."""

    rows: int
    columns: int
    weights: tuple[Packed, ...]
    """Keep the panels where they are."""


def stacked(weights: Sequence[Packed]) -> Stacked:
    """One matrix of each expert; all have one format and one shape."""
    format, _, rows, columns = weights[0]
    alike = all((w.format, w.rows, w.columns) == (format, rows, columns) for w in weights)
    assert alike, "experts differ in a matrix's format or shape"
    addresses = torch.tensor([weight.panels.data_ptr() for weight in weights])
    return Stacked(format, addresses, rows, columns, tuple(weights))
