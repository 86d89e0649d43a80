"""The gated activation of the feed-forward network (Shazeer, 2020, arXiv 2002.05202)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tongwen.kernels.machine import native_for


def swiglu(
    gate: Float[Tensor, "*tokens ffn"], up: Float[Tensor, "*tokens ffn"]
) -> Float[Tensor, "*tokens ffn"]:
    """`silu(gate) * up`, in the dtype of its arguments."""
    if _alike(gate, up) and (native := native_for(gate, up)) is not None:
        return native.swiglu(gate, up)
    return F.silu(gate) * up


def add(
    x: Float[Tensor, "tokens dim"], y: Float[Tensor, "tokens dim"]
) -> Float[Tensor, "tokens dim"]:
    """`x + y`: how a block's two halves join the residual."""
    whole = x.is_contiguous() and y.is_contiguous()
    if whole and _alike(x, y) and (native := native_for(x, y)) is not None:
        return native.add(x, y)
    return x + y


def _alike(x: Tensor, y: Tensor) -> bool:
    """Whether both are rows of the same length, laid out alike, as native kernels want them."""
    rows = x.ndim == 2 and x.shape[-1] % 16 == 0 and x.stride(-1) == 1
    return rows and x.shape == y.shape and x.stride() == y.stride()
