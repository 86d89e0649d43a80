"""One completion in the making, from arrival to finish, and what its caller gets."""

import time
from dataclasses import dataclass, field
from typing import Literal

from tongwen.engine.params import Sampling
from tongwen.errors import TongwenError
from tongwen.tokenizer.stream import StopStrings, TextStream

FinishReason = Literal["stop", "length", "abort", "error"]


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
    """`stop`: end of turn or a stop string; `length`: `max_tokens` or the context is full."""

    stop_reason: str | int | None
    """The stop string or token id that ended it, if one did."""

    prompt_token_ids: list[int]
    """The prompt."""

    seed: int
    """The seed that gives this completion again."""

    ttft_s: float
    """Seconds from arrival to the first token."""

    decode_s: float
    """Seconds from the first token to the last."""

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Tokens after the first, per second; `None` where there were none."""
        return (len(self.token_ids) - 1) / self.decode_s if self.decode_s > 0 else None


@dataclass(kw_only=True, slots=True, eq=False)
class Request:
    """The state of one completion; the scheduler owns its place, the engine its tokens."""

    request_id: int
    prompt_ids: list[int]
    sampling: Sampling
    max_tokens: int
    """Tokens that may still be sampled before the context or the caller's limit is reached."""

    stop_token_ids: frozenset[int]
    text_stream: TextStream
    stop_strings: StopStrings

    token_ids: list[int] = field(default_factory=list)
    """The completion so far."""

    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[dict[int, float]] = field(default_factory=list)

    num_computed: int = 0
    """Tokens of prompt and completion whose keys and values are in the cache."""

    block_table: list[int] = field(default_factory=list)
    """Blocks that hold them, in order."""

    text: str = ""
    """Text that is certain."""

    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    error: TongwenError | None = None
    """Why it failed, with `finish_reason` `error`."""

    arrived_s: float = field(default_factory=time.perf_counter)
    first_token_s: float = 0.0
    last_token_s: float = 0.0

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.token_ids)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will be sampled."""
        return self.finish_reason is not None

    def tokens(self, start: int, stop: int) -> list[int]:
        """Tokens `start` to `stop` of prompt and completion taken together."""
        prompt = len(self.prompt_ids)
        if start >= prompt:
            return self.token_ids[start - prompt : stop - prompt]
        return self.prompt_ids[start:stop] + self.token_ids[: max(stop - prompt, 0)]

    def accept(self, token_id: int, logprob: float, top: dict[int, float] | None) -> None:
        """Append a sampled token and find out whether it is the last."""
        self.last_token_s = time.perf_counter()
        if not self.token_ids:
            self.first_token_s = self.last_token_s
        self.token_ids.append(token_id)
        self.logprobs.append(logprob)
        if top is not None:
            self.top_logprobs.append(top)
        if token_id in self.stop_token_ids:
            self.finish("stop", token_id)
            return
        self._write(self.text_stream.push(token_id))
        if not self.is_finished and len(self.token_ids) >= self.max_tokens:
            self.finish("length")

    def finish(self, reason: FinishReason, cause: str | int | None = None) -> None:
        """End the completion; text that was held back is released."""
        if self.is_finished:
            return
        self._write(self.text_stream.finish())
        if not self.is_finished:
            self.text += self.stop_strings.finish()
            self.finish_reason, self.stop_reason = reason, cause

    def fail(self, error: TongwenError) -> None:
        """End the completion with an error of its own."""
        self.error, self.finish_reason = error, "error"

    def _write(self, text: str) -> None:
        self.text += self.stop_strings.push(text)
        if self.stop_strings.matched is not None:
            self.finish_reason, self.stop_reason = "stop", self.stop_strings.matched

    def completion(self) -> Completion:
        """What the caller gets.

        Raises:
            TongwenError: The request failed.
        """
        if self.error is not None:
            raise self.error
        return Completion(
            text=self.text,
            token_ids=list(self.token_ids),
            logprobs=list(self.logprobs),
            top_logprobs=list(self.top_logprobs) if self.sampling.logprobs is not None else None,
            finish_reason=self.finish_reason or "abort",
            stop_reason=self.stop_reason,
            prompt_token_ids=list(self.prompt_ids),
            seed=self.sampling.seed,
            ttft_s=max(self.first_token_s - self.arrived_s, 0.0),
            decode_s=self.last_token_s - self.first_token_s,
        )
