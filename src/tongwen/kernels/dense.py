"""Products with small matrices that decide: a router, a gate."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tongwen.kernels.machine import native_for


def dense(
    x: Float[Tensor, "tokens in"], weight: Float[Tensor, "out in"]
) -> Float[Tensor, "tokens out"]:
    """`x @ weight.T`, nothing rounded to fewer bits.

    Natively each product is summed in one order whatever the number of tokens, which torch's is
    not: a token whose two best experts nearly tie would choose differently in a crowd.
    """
    if x.shape[1] % 32 == 0 and (native := native_for(x, weight)) is not None:
        return native.dense(x.contiguous(), weight)
    return F.linear(x, weight)
