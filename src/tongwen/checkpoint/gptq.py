"""Weights as GPTQ checkpoints pack them, and what they stand for.

A linear layer `X` of `in` columns and `out` rows is stored as (AutoGPTQ, `qlinear_cuda_old.py`)

    X.qweight  int32 [in * bits / 32, out]       numbers down a column, low bits first
    X.qzeros   int32 [groups, out * bits / 32]   numbers along a row, low bits first
    X.scales   float16 [groups, out]
    X.g_idx    int32 [in]                        the group of each column of the weight

and `weight[o, i] = scales[g, o] * (q[i, o] - zero[g, o])` with `g = g_idx[i]`.  The first form of
the format stores each zero less one, modulo `2 ** bits`; the second (`gptq_v2`) as it is.
"""

import torch
from jaxtyping import Float, Float32, Int, Int32
from torch import Tensor

from tongwen.errors import CheckpointError


def unpack_gptq(
    qweight: Int32[Tensor, "words out"],
    qzeros: Int32[Tensor, "groups zero_words"],
    scales: Float[Tensor, "groups out"],
    g_idx: Int[Tensor, " in"],
    *,
    bits: int,
    zero_offset: int = 1,
) -> Float32[Tensor, "out in"]:
    """The weight, exact: a float16 times a number of `bits` bits fits a float32.

    Args:
        qweight: As above.
        qzeros: As above.
        scales: As above.
        g_idx: As above.
        bits: 2, 4 or 8.
        zero_offset: What is added to a stored zero: 1, or 0 in the second form.

    Raises:
        CheckpointError: A column is in a group that does not exist.
    """
    if len(g_idx) and not 0 <= int(g_idx.min()) <= int(g_idx.max()) < len(scales):
        raise CheckpointError(
            f"`g_idx` should name groups from 0 to {len(scales) - 1}, and names "
            f"{int(g_idx.min())} to {int(g_idx.max())}"
        )
    q = along_rows(qweight.T, bits).T  # [in, out]
    zero = along_rows(qzeros, bits) + zero_offset & (1 << bits) - 1  # [groups, out]
    group = g_idx.long()
    return ((q - zero[group]) * scales.float()[group]).T.contiguous()


def along_rows(packed: Int32[Tensor, "rows words"], bits: int) -> Int32[Tensor, "rows numbers"]:
    """Numbers of `bits` bits from words of 32, the low bits first."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    return (packed[:, :, None] >> shifts & (1 << bits) - 1).flatten(1)
