"""Weights as AWQ checkpoints pack them (version `gemm`), and what they stand for.

A linear layer `X` of `in` columns and `out` rows is stored as (AutoAWQ, `gemm.py`)

    X.qweight  int32 [in, out / 8]       numbers of 4 bits along a row
    X.qzeros   int32 [groups, out / 8]   likewise
    X.scales   float16 [groups, out]

and `weight[o, i] = scales[g, o] * (q[i, o] - zero[g, o])` with `g = i // group_size`.  Within a
word the numbers lie in the order 0 2 4 6 1 3 5 7 from the low bits up, which suits its kernel.
"""

import torch
from jaxtyping import Float, Float32, Int32
from torch import Tensor

from tongwen.checkpoint.gptq import along_rows

_BITS = 4
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def unpack_awq(
    qweight: Int32[Tensor, "in words"],
    qzeros: Int32[Tensor, "groups words"],
    scales: Float[Tensor, "groups out"],
) -> Float32[Tensor, "out in"]:
    """The weight, exact: a float16 times a number of 5 bits fits a float32."""
    group_size = qweight.shape[0] // scales.shape[0]
    q = _in_order(qweight).unflatten(0, (-1, group_size))  # [groups, group_size, out]
    weight = (q - _in_order(qzeros)[:, None]) * scales.float()[:, None]
    return weight.flatten(0, 1).T.contiguous()


def _in_order(packed: Int32[Tensor, "rows words"]) -> Int32[Tensor, "rows numbers"]:
    numbers = along_rows(packed, _BITS).unflatten(1, (-1, len(_ORDER)))
    place = torch.tensor(_ORDER).argsort()
    return numbers[:, :, place].flatten(1)
