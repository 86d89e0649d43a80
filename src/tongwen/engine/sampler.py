"""From logits to a token: a pure function of (logits, parameters, seed, position).

The order is transformers': penalties, temperature, top-k, top-p, min-p, draw.  The draw adds
noise to the log-probabilities and takes the largest (the Gumbel-max trick).  The noise of a token
is a hash of (seed, position, token id): no generator has a state that neighbours could disturb,
and a token dropped by top-k changes nobody else's noise.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tongwen.engine.params import Sampling

COLDEST = 1e-9
"""Below this temperature sampling is greedy: no two float32 logits that matter are so close that
the less probable one would ever be drawn, and the division would overflow."""


class Sample(NamedTuple):
    """A chosen token."""

    token_id: int
    logprob: float
    """Natural-log probability under the raw logits, whatever the parameters."""

    top: dict[int, float] | None
    """The most probable tokens likewise, where they were asked for."""


@dataclass
class TokenCounts:
    """Which tokens a request holds, for the penalties; costs per token, not per step."""

    index: dict[int, int] = field(default_factory=dict)
    """Place of each distinct token in `ids`."""

    ids: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    """How often the completion, not the prompt, holds each of `ids`."""

    def add(self, token_id: int, *, generated: bool) -> None:
        """Count one token of the prompt or the completion."""
        place = self.index.setdefault(token_id, len(self.ids))
        if place == len(self.ids):
            self.ids.append(token_id)
            self.generated.append(0)
        self.generated[place] += generated


def sample(
    logits: Float[Tensor, " vocab"],
    sampling: Sampling,
    position: int,
    counts: TokenCounts,
    num_tokens: int,
) -> Sample:
    """Choose the token at `position`.

    Args:
        logits: One raw row, float32 or wider, finite.
        sampling: The request's parameters.
        position: Of the token to be chosen.
        counts: The request's tokens so far.
        num_tokens: Ids that the tokenizer has; rows beyond are padding and never chosen.
    """
    logprobs = logits - logits.logsumexp(-1)
    token_id = _choose(logits[:num_tokens], sampling, position, counts)
    return Sample(token_id, float(logprobs[token_id]), top_logprobs(logprobs, sampling.logprobs))


def top_logprobs(logprobs: Float[Tensor, " vocab"], count: int | None) -> dict[int, float] | None:
    """The `count` most probable tokens, most probable first; `None` where none were asked for."""
    if count is None:
        return None
    values, ids = logprobs.topk(min(count, len(logprobs)))
    return dict(zip(ids.tolist(), values.tolist(), strict=True))


def _choose(
    logits: Float[Tensor, " vocab"], sampling: Sampling, position: int, counts: TokenCounts
) -> int:
    if sampling.penalizes and counts.ids:
        logits = penalize(logits, sampling, counts)
    if sampling.temperature < COLDEST:
        return int(logits.argmax())
    ids, logits = candidates(logits, sampling)
    return int(ids[(logits + gumbel(sampling.seed, position, ids)).argmax()])


def penalize(
    logits: Float[Tensor, " vocab"], sampling: Sampling, counts: TokenCounts
) -> Float[Tensor, " vocab"]:
    """Make tokens that the request already holds less likely (repetition, presence, frequency)."""
    ids = torch.tensor(counts.ids, device=logits.device)
    held = torch.tensor(counts.generated, dtype=logits.dtype, device=logits.device)
    known = ids < len(logits)  # a prompt may hold padding rows, which have no logit here
    ids, held = ids[known], held[known]
    seen, rate = logits[ids], sampling.repetition_penalty
    seen = torch.where(seen > 0, seen / rate, seen * rate)
    seen = seen - sampling.presence_penalty * held.sign() - sampling.frequency_penalty * held
    return logits.index_copy(0, ids, seen)


def candidates(
    logits: Float[Tensor, " vocab"], sampling: Sampling
) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Ids that temperature, top-k, top-p and min-p leave, and their logits."""
    scaled = logits / sampling.temperature
    if not 0 < sampling.top_k < len(scaled):
        order = _descending(scaled) if sampling.top_p < 1 else torch.arange(len(scaled))
    else:
        kth = scaled.topk(sampling.top_k).values[-1]
        kept = (scaled >= kth).nonzero().squeeze(-1)  # ties with the k-th stay, as in transformers
        order = kept[_descending(scaled[kept])]
    ids = order.to(logits.device)
    probs = scaled[ids].softmax(-1)
    keep = probs >= sampling.min_p * probs.max()
    if sampling.top_p < 1:
        keep &= probs.cumsum(-1) - probs < sampling.top_p  # the one that reaches the sum stays
        keep[0] = True  # and with a sum of 0 the most probable
    return ids[keep], scaled[ids[keep]]


def _descending(values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Order from the largest to the smallest; ties: the lower index first."""
    return values.argsort(descending=True, stable=True)


def gumbel(seed: int, position: int, ids: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Standard Gumbel noise for each id, in float64, a hash of (seed, position, id)."""
    state = _mix(_mix(torch.tensor(seed, device=ids.device)) + position)
    bits = _logical_shift(_mix(state + ids), 12)
    uniform = (bits.to(torch.float64) + 0.5) * 2.0**-52  # exact, so neither 0 nor 1
    return -(-uniform.log()).log()


def _mix(x: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Scatter the bits of 64-bit integers (SplitMix64's finalizer, Steele et al., 2014)."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _logical_shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _logical_shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _logical_shift(x, 31)


def _logical_shift(x: Int[Tensor, "*n"], bits: int) -> Int[Tensor, "*n"]:
    """Shift right and fill with zeros; torch's own shift repeats the sign."""
    return (x >> bits) & ((1 << 64 - bits) - 1)


def _signed(constant: int) -> int:
    """A 64-bit pattern as the signed integer that torch holds it in."""
    return constant - (1 << 64) if constant >> 63 else constant
