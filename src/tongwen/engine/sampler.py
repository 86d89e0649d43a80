"""From logits to a token: a pure function of (logits, parameters, seed, position).

The order is transformers': biases, penalties, temperature, top-k, top-p, min-p, typical-p, draw.
The draw adds noise to the logits and takes the largest (the Gumbel-max trick).  The noise of a
token is a hash of (seed, position, token id): no generator has a state that neighbours could
disturb, and a token dropped by top-k changes nobody else's noise.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tongwen.engine.params import Sampling
from tongwen.kernels.loss import token_logprobs
from tongwen.kernels.machine import native_for
from tongwen.kernels.sampling import NONE_ALLOWED, NOT_FINITE, ROW

COLDEST = 1e-9
"""Below this temperature sampling is greedy: no two float32 logits that matter are so close that
the less probable one would ever be drawn, and the division would overflow."""


class Sample(NamedTuple):
    """A chosen token."""

    token_id: int
    """Below 0: `NOT_FINITE` or `NONE_ALLOWED`."""

    logprob: float
    """Natural-log probability under the raw logits, whatever the parameters."""

    top: dict[int, float] | None
    """The most probable tokens likewise, where they were asked for."""


class TokenCounts:
    """Which tokens a request holds, for the penalties; costs per token, not per step."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}  # of each distinct token in the arrays
        self._ids = np.zeros(64, np.int64)
        self._generated = np.zeros(64, np.float32)

    def add(self, token_id: int, *, generated: bool) -> None:
        """Count one token of the prompt or the completion."""
        place = self._places.setdefault(token_id, len(self._places))
        if place == len(self._ids):
            self._ids = np.resize(self._ids, 2 * place)
            self._generated = np.resize(self._generated, 2 * place)
            self._generated[place:] = 0
        self._ids[place] = token_id
        self._generated[place] += generated

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> np.ndarray:
        """Each distinct token."""
        return self._ids[: len(self)]

    @property
    def generated(self) -> np.ndarray:
        """How often the completion, not the prompt, holds each of `ids`."""
        return self._generated[: len(self)]


class Chooser:
    """What the choice of one request's tokens depends on, but for the logits and the position.

    Args:
        sampling: The request's parameters.
        forbidden_at_first: Tokens that may not come before `sampling.min_tokens` tokens.
        num_rows: Rows of the vocabulary.
    """

    def __init__(
        self, sampling: Sampling, forbidden_at_first: Iterable[int] = (), num_rows: int = 0
    ) -> None:
        self.sampling, self.counts = sampling, TokenCounts()
        biases = dict(sampling.logit_bias) | dict.fromkeys(sampling.bad_token_ids, -np.inf)
        self.biases = _arrays(biases)
        self.first_biases = _arrays(biases | dict.fromkeys(forbidden_at_first, -np.inf))
        self.num_generated = 0
        self.allowed = (
            None
            if sampling.allowed_token_ids is None
            else bitmask(sampling.allowed_token_ids, num_rows)
        )
        self.spec = np.zeros((), ROW)
        for name in _COPIED:
            self.spec[name] = getattr(sampling, name)

    @property
    def penalizes(self) -> bool:
        """Whether the tokens so far change the logits."""
        return self.sampling.penalizes

    def count(self, token_ids: Iterable[int], *, generated: bool) -> None:
        """Take note of tokens of the prompt or the completion."""
        for token_id in token_ids:
            self.num_generated += generated
            if self.penalizes:
                self.counts.add(token_id, generated=generated)

    def biases_now(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids and what is added to their logits."""
        early = self.num_generated < self.sampling.min_tokens
        return self.first_biases if early else self.biases

    def describe(self, spec: np.ndarray, position: int, allowed: np.ndarray | None) -> None:
        """Write the choice at `position` as the native kernels read it.

        The addresses are those of this object's arrays, and of `allowed`, until the next `count`.
        """
        spec[()] = self.spec
        spec["position"] = position
        if self.penalizes:
            spec["seen_ids"] = self.counts.ids.ctypes.data
            spec["seen_counts"] = self.counts.generated.ctypes.data
            spec["num_seen"] = len(self.counts)
        ids, biases = self.biases_now()
        if len(ids):
            spec["bias_ids"], spec["biases"] = ids.ctypes.data, biases.ctypes.data
            spec["num_biases"] = len(ids)
        if allowed is not None:
            spec["allowed"] = allowed.ctypes.data


_COPIED = (
    "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "top_k", "seed",
)  # fmt: skip


class Choice(NamedTuple):
    """One row of logits to choose from."""

    chooser: Chooser
    position: int
    """Of the token to be chosen."""

    allowed: np.ndarray | None = None
    """One bit for each token that may be chosen; `None`: all."""


def choose(
    logits: Float[Tensor, "rows vocab"], choices: Sequence[Choice], num_tokens: int
) -> list[Sample]:
    """Choose a token for each row.

    Args:
        logits: Raw, float32 or wider; the native kernels overwrite them.
        choices: How, one for each row.
        num_tokens: Ids that the tokenizer has; rows beyond are padding and never chosen.
    """
    native = native_for(logits)
    if native is None:
        return [
            sample(row, choice, num_tokens) for row, choice in zip(logits, choices, strict=True)
        ]
    plain = [choice.chooser.sampling.typical_p < 1 for choice in choices]
    if any(plain):  # those rows alone: what a request gets depends on no neighbour
        return [
            sample(row, choice, num_tokens) if is_plain else _alone(row, choice, num_tokens)
            for row, choice, is_plain in zip(logits, choices, plain, strict=True)
        ]
    tops = _tops(logits, choices)
    specs = np.zeros(len(choices), ROW)
    for index, (chooser, position, allowed) in enumerate(choices):
        assert allowed is None or 32 * len(allowed) >= num_tokens, "a mask covers every token"
        chooser.describe(specs[index : index + 1].reshape(()), position, allowed)
    chosen = native.sample(logits, specs, num_tokens)
    return [
        Sample(token_id, logprob, top)
        for token_id, logprob, top in zip(
            chosen["token_id"].tolist(), chosen["logprob"].tolist(), tops, strict=True
        )
    ]


def _alone(row: Float[Tensor, " vocab"], choice: Choice, num_tokens: int) -> Sample:
    (chosen,) = choose(row.unsqueeze(0), [choice], num_tokens)
    return chosen


def _tops(
    logits: Float[Tensor, "rows vocab"], choices: Sequence[Choice]
) -> list[dict[int, float] | None]:
    """The most probable tokens of each row that asked for them."""
    return [
        None
        if choice.chooser.sampling.logprobs is None
        else top_logprobs(row, choice.chooser.sampling.logprobs)
        for row, choice in zip(logits, choices, strict=True)
    ]


def sample(logits: Float[Tensor, " vocab"], choice: Choice, num_tokens: int) -> Sample:
    """The definition of `choose`, for one row; `logits` remain as they are."""
    sampling = choice.chooser.sampling
    if not bool(logits.isfinite().all()):
        return Sample(NOT_FINITE, math.nan, None)
    edited = edit(logits[:num_tokens], choice)
    if not bool((edited > -math.inf).any()):
        return Sample(NONE_ALLOWED, math.nan, None)
    token_id = draw(edited, sampling, choice.position)
    wanted = torch.tensor([token_id], device=logits.device)
    logprob = float(token_logprobs(logits.unsqueeze(0), wanted))
    top = None if sampling.logprobs is None else top_logprobs(logits, sampling.logprobs)
    return Sample(token_id, logprob, top)


def top_logprobs(logits: Float[Tensor, " vocab"], count: int) -> dict[int, float]:
    """The `count` most probable tokens of a raw row, most probable first."""
    ids = logits.topk(min(count, len(logits))).indices
    rows = logits.unsqueeze(0).expand(len(ids), -1)
    values = token_logprobs(rows, ids) if len(ids) else ids
    return dict(zip(ids.tolist(), values.tolist(), strict=True))


def edit(logits: Float[Tensor, " tokens"], choice: Choice) -> Float[Tensor, " tokens"]:
    """Biases, then penalties, then what is not allowed at all."""
    chooser = choice.chooser
    ids, values = (torch.from_numpy(array) for array in chooser.biases_now())
    known = ids < len(logits)
    ids, values = ids[known].to(logits.device), values[known].to(logits)
    logits = logits.index_add(0, ids, values)
    if chooser.penalizes and len(chooser.counts):
        logits = penalize(logits, chooser.sampling, chooser.counts)
    if choice.allowed is None:
        return logits
    bits = np.unpackbits(choice.allowed.view(np.uint8), bitorder="little")[: len(logits)]
    return logits.masked_fill(torch.from_numpy(bits == 0).to(logits.device), -math.inf)


def draw(logits: Float[Tensor, " tokens"], sampling: Sampling, position: int) -> int:
    """The token that temperature, the filters and the noise of `position` choose."""
    if sampling.temperature < COLDEST:
        return int(logits.argmax())
    ids, kept = candidates(logits, sampling)
    return int(ids[(kept + gumbel(sampling.seed, position, ids)).argmax()])


def bitmask(token_ids: Iterable[int], num_rows: int) -> np.ndarray:
    """One bit for each row of the vocabulary, 32 to a word, the lowest first."""
    bits = np.zeros(-(-num_rows // 32) * 32, np.uint8)
    bits[list(token_ids)] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


def _arrays(biases: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(list(biases), np.int64), np.array(list(biases.values()), np.float32)


def penalize(
    logits: Float[Tensor, " vocab"], sampling: Sampling, counts: TokenCounts
) -> Float[Tensor, " vocab"]:
    """Make tokens that the request already holds less likely (repetition, presence, frequency)."""
    ids = torch.from_numpy(counts.ids).to(logits.device)
    held = torch.from_numpy(counts.generated).to(logits)
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
    if sampling.typical_p < 1:
        keep &= _typical(torch.where(keep, probs, 0.0), sampling.typical_p)
    return ids[keep], scaled[ids[keep]]


def _typical(probs: Float[Tensor, " kept"], typical_p: float) -> Bool[Tensor, " kept"]:
    """Those nearest to the entropy whose probabilities reach the sum (arXiv 2202.00666, eq. 4)."""
    probs = probs / probs.sum()
    surprise = -probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
    order = (surprise - (probs * surprise).sum()).abs().argsort(stable=True)
    reached = probs[order].cumsum(-1) - probs[order] < typical_p
    return torch.zeros_like(probs, dtype=torch.bool).index_copy(0, order, reached)


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
