"""The gated activation of the feed-forward network (Shazeer, 2020, arXiv 2002.05202)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def swiglu(
    gate: Float[Tensor, "*tokens ffn"], up: Float[Tensor, "*tokens ffn"]
) -> Float[Tensor, "*tokens ffn"]:
    """`silu(gate) * up`, in the dtype of its arguments."""
    return F.silu(gate) * up
