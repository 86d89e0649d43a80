"""Routing of tokens to experts, and the gate of the one that all share."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tongwen.kernels.machine import native_for


class Routing(NamedTuple):
    """Which tokens each expert works on; pairs of a token and an expert, grouped by expert."""

    rows: Int[Tensor, " pairs"]
    """The token of each pair; pairs of one expert are consecutive, experts ascending."""

    weights: Float[Tensor, " pairs"]
    """The probability that the router gave to each pair's expert, in float32 at least."""

    counts: Int[Tensor, " experts"]
    """Pairs of each expert."""


def route(router_logits: Float[Tensor, "tokens experts"], top_k: int, renormalize: bool) -> Routing:
    """Send each token to its `top_k` most probable experts; ties go to the lowest id.

    Where a token's logits are not all finite, neither are its weights: an expert whose logit is
    minus infinity would otherwise be passed over in silence.

    Args:
        router_logits: In float32 at least.
        top_k: Experts per token.
        renormalize: Whether the chosen probabilities are scaled to sum to one.  Qwen2-57B-A14B
            does not (`norm_topk_prob` false).
    """
    if (native := native_for(router_logits)) is not None:
        return Routing(*native.route(router_logits.contiguous(), top_k, renormalize))
    is_finite = router_logits.isfinite().all(-1, keepdim=True)
    probs = router_logits.softmax(-1).where(is_finite, torch.nan)
    ranked, experts = probs.sort(dim=-1, descending=True, stable=True)
    ranked, experts = ranked[:, :top_k], experts[:, :top_k]
    if renormalize:
        ranked = ranked / ranked.sum(-1, keepdim=True)
    order = experts.flatten().argsort(stable=True)
    return Routing(
        rows=order // top_k,
        weights=ranked.flatten()[order],
        counts=torch.bincount(experts.flatten(), minlength=probs.shape[-1]),
    )


def add_gated(
    x: Float[Tensor, "tokens dim"], y: Float[Tensor, "tokens dim"], score: Float[Tensor, "tokens 1"]
) -> Float[Tensor, "tokens dim"]:
    """`x + sigmoid(score) * y`: how the shared expert joins the routed ones."""
    whole = x.is_contiguous() and y.is_contiguous() and x.shape[1] % 32 == 0
    if whole and (native := native_for(x, y, score)) is not None:
        return native.add_gated(x, y, score.contiguous())
    return x + open_gate(score) * y


def open_gate(score: Float[Tensor, "*tokens 1"]) -> Float[Tensor, "*tokens 1"]:
    """Sigmoid of a score, the same bits wherever in the tensor a token stands.

    torch's `sigmoid` computes the last few elements of a tensor by another formula than the rest;
    its softmax treats all rows alike, and that of (x, 0) begins with the sigmoid of x.  Of an
    infinite score it is NaN: a damaged gate is neither open nor shut.
    """
    return torch.cat((score, torch.zeros_like(score)), dim=-1).softmax(-1)[..., :1] + 0 * score
