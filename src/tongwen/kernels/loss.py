"""Log-probabilities of given tokens, without keeping every row of logits at once."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tongwen.kernels.machine import native_for

ROWS = 256
"""Rows of logits alive at a time: 256 x 152,064 float32 are 156 MB."""


def token_logprobs(
    logits: Float[Tensor, "tokens vocab"], targets: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Natural-log probability of each target under its row of logits, in float32 at least."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    chosen = wide.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    if native := native_for(wide):
        return (chosen.double() - native.logsumexp(wide)).float()
    return chosen - wide.logsumexp(-1)


def chunked_logprobs(
    head: Callable[[Float[Tensor, "rows dim"]], Float[Tensor, "rows vocab"]],
    hidden: Float[Tensor, "tokens dim"],
    targets: Int[Tensor, " tokens"],
) -> Float[Tensor, " tokens"]:
    """`token_logprobs(head(hidden), targets)`, `ROWS` rows of logits at a time.

    Under grad, autograd keeps every chunk's logits for the backward pass.
    """
    parts = zip(hidden.split(ROWS), targets.split(ROWS), strict=True)
    return torch.cat([token_logprobs(head(rows), wanted) for rows, wanted in parts])
