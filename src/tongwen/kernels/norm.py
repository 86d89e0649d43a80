"""Root-mean-square normalisation (Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467)."""

import torch
from jaxtyping import Float
from torch import Tensor

from tongwen.kernels.machine import native_for


def rms_norm(
    x: Float[Tensor, "*tokens dim"], weight: Float[Tensor, " dim"], eps: float
) -> Float[Tensor, "*tokens dim"]:
    """Scale each row of `x` to unit root mean square, then by `weight`.

    Computed in float32 at least and rounded to the dtype of `x` *before* the multiplication by
    `weight`: the order in which the published weights were trained.
    """
    if x.ndim == 2 and x.shape[1] % 32 == 0 and (native := native_for(x, weight)) is not None:
        return native.norm(x.contiguous(), weight, eps)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(x.dtype)
