"""What a caller gets: a completion, whole or in pieces.  No tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FinishReason = Literal["stop", "length", "abort", "error", "loop", "language"]

Pooling = Literal["mean", "last"]
"""What is made of a prompt's hidden states: their mean, or the last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A finished completion."""

    text: str
    """What was written, without end-of-turn tokens and stop strings."""

    token_ids: list[int]
    """The sampled ids, the one that ended the completion included."""

    logprobs: list[float]
    """Natural-log probability of each sampled id under the model's raw logits."""

    top_logprobs: list[dict[int, float]] | None
    """Per position the most probable ids, where `SamplingParams.logprobs` asked for them."""

    finish_reason: FinishReason
    """`stop`: end of turn, a stop string, or a constraint that is fulfilled; `length`:
    `max_tokens` or the context is full; `loop` and `language`: a guard."""

    stop_reason: str | int | None
    """The stop string or token id that ended it, if one did."""

    prompt_token_ids: list[int]
    """The prompt."""

    seed: int
    """The seed that gives this completion again."""

    prompt_logprobs: list[float | None] | None
    """Natural-log probability of each of the prompt's tokens after those before it, of the first
    `None`, and of those before `SamplingParams.prompt_logprobs_from`; where
    `SamplingParams.prompt_logprobs` asked for them."""

    prompt_top_logprobs: list[dict[int, float] | None] | None
    """The most probable ids in their places likewise."""

    num_cached_tokens: int
    """Tokens of the prompt that the prefix cache held."""

    vector: np.ndarray | None
    """The prompt's hidden states as one vector of length 1, float32, where a pooling was asked
    for."""

    alternatives: list["Completion"]
    """The other completions of the same prompt (`SamplingParams.n`), the best first."""

    ttft_s: float
    """Seconds from arrival to the first token."""

    decode_s: float
    """Seconds from the first token to the last."""

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Tokens after the first, per second; `None` where there were none."""
        return (len(self.token_ids) - 1) / self.decode_s if self.decode_s > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """A piece of a completion that is being written."""

    text: str
    """What became certain since the last piece; may be empty."""

    token_id: int | None
    """The token that was sampled; `None` where the completion ended without one."""

    completion: Completion | None
    """With the last piece, the whole."""

    index: int = 0
    """Which of the prompt's completions (`SamplingParams.n`) it belongs to."""

    logprob: float | None = None
    """Natural-log probability of the token."""

    top_logprobs: dict[int, float] | None = None
    """The most probable tokens in its place, where they were asked for."""


def ranked(completions: Sequence[Completion]) -> list[Completion]:
    """Completions of one prompt, that with the highest mean log-probability first."""
    return sorted(completions, key=lambda one: -sum(one.logprobs) / max(len(one.logprobs), 1))
