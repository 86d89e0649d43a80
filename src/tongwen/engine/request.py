"""One completion in the making, from arrival to finish."""

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tongwen.engine.completion import Completion, FinishReason, Pooling
from tongwen.engine.sampler import Chooser
from tongwen.errors import TongwenError
from tongwen.tokenizer.stream import StopStrings, TextStream


@runtime_checkable
class Guard(Protocol):
    """Watches a completion and may end it."""

    def push(self, token_id: int, text: str) -> FinishReason | None:
        """Take note of a token and of the text that it made certain."""
        ...


@runtime_checkable
class Matcher(Protocol):
    """Holds a completion to a constraint; one state for each request."""

    @property
    def is_finished(self) -> bool:
        """Whether the text is complete and nothing may follow."""
        ...

    def mask(self) -> np.ndarray | None:
        """One bit for each token that may come next; `None`: all."""
        ...

    def accept(self, token_id: int) -> None:
        """Take note of a token."""
        ...


@dataclass(kw_only=True, slots=True, eq=False)
class Request:
    """The state of one completion; the scheduler owns its place, the engine its tokens."""

    request_id: int
    prompt_ids: list[int]
    chooser: Chooser
    max_tokens: int
    """Tokens that may be sampled before the context or the caller's limit is reached; 0: none, the
    prompt is only looked at."""

    stop_token_ids: frozenset[int]
    text_stream: TextStream
    stop_strings: StopStrings
    text: str = ""
    """Text that is certain."""

    caller: str = ""
    priority: int = 0
    adapter: int = -1
    """The LoRA adapter that its tokens use; -1: none."""

    salt: str = ""
    """Who shares its cached blocks."""

    root_key: bytes = b""
    """What its cached blocks depend on besides their tokens."""

    guards: Sequence[Guard] = ()
    matcher: Matcher | None = None
    pooling: Pooling | None = None
    """What is made of the prompt's hidden states, if anything."""

    num_wanted: int = 1
    """Completions of its prompt that the caller gets."""

    num_prompt_logprobs: int | None = None
    """Most probable tokens wanted at each place of the prompt; `None`: not even its own."""

    prompt_logprobs_from: int = 0
    """The first place of the prompt where they are wanted."""

    followers: list["Request"] = field(default_factory=list)
    """Other completions of the same prompt, which begin when it is computed."""

    token_ids: list[int] = field(default_factory=list)
    """The completion so far."""

    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[dict[int, float]] = field(default_factory=list)
    prompt_logprobs: list[float | None] = field(default_factory=list)
    prompt_top_logprobs: list[dict[int, float] | None] = field(default_factory=list)
    pooled: Tensor | None = None
    draft_ids: list[int] = field(default_factory=list)
    """Guesses at the tokens that come next, to be verified in the next step."""

    num_computed: int = 0
    """Tokens of prompt and completion whose keys and values are in the cache."""

    num_cached_tokens: int | None = None
    """Tokens of the prompt that were found there; `None`: it has not begun."""

    block_table: list[int] = field(default_factory=list)
    """Blocks that hold them, in order."""

    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    error: TongwenError | None = None
    """Why it failed, with `finish_reason` `error`."""

    arrived_s: float = field(default_factory=time.perf_counter)
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    _keys: list[bytes] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.token_ids)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will be sampled."""
        return self.finish_reason is not None

    @property
    def looks_at_prompt(self) -> bool:
        """Whether the prompt's hidden states are wanted, not only its keys and values."""
        return self.pooling is not None or self.num_prompt_logprobs is not None

    @property
    def num_reusable(self) -> int:
        """Tokens of its beginning for which cached blocks will do in place of computing them.

        The last is left to compute, since a token follows from it; and so is each from which one
        follows whose log-probability is wanted.
        """
        if not self.looks_at_prompt or self.token_ids:
            return self.num_tokens - 1
        if self.pooling is not None:
            return 0
        return min(max(self.prompt_logprobs_from - 1, 0), self.num_tokens - 1)

    def tokens(self, start: int, stop: int) -> list[int]:
        """Tokens `start` to `stop` of prompt, completion and drafts taken together."""
        prompt = len(self.prompt_ids)
        if start >= prompt:
            start, stop = start - prompt, stop - prompt
            return self.token_ids[start:stop] + self._drafts(start, stop)
        written = max(stop - prompt, 0)
        return self.prompt_ids[start:stop] + self.token_ids[:written] + self._drafts(0, written)

    def _drafts(self, start: int, stop: int) -> list[int]:
        known = len(self.token_ids)
        return self.draft_ids[max(start - known, 0) : max(stop - known, 0)]

    def block_keys(self, count: int, block_size: int) -> list[bytes]:
        """A key for each of the first `count` blocks: a hash of everything up to its end."""
        while len(self._keys) < count:
            first = len(self._keys) * block_size
            tokens = array("q", self.tokens(first, first + block_size))
            before = self._keys[-1] if self._keys else self.root_key
            self._keys.append(blake2b(before + tokens.tobytes(), digest_size=16).digest())
        return self._keys[:count]

    def rekey(self, root_key: bytes) -> None:
        """From now on its blocks depend on something else."""
        self.root_key = root_key
        self._keys.clear()

    def accept(self, token_id: int, logprob: float, top: dict[int, float] | None) -> None:
        """Append a sampled token and find out whether it is the last."""
        self.last_token_s = time.perf_counter()
        if not self.token_ids:
            self.first_token_s = self.last_token_s
        self.token_ids.append(token_id)
        self.logprobs.append(logprob)
        if top is not None:
            self.top_logprobs.append(top)
        self.chooser.count((token_id,), generated=True)
        if token_id in self.stop_token_ids:
            self.finish("stop", token_id)
            return
        if self.matcher is not None:
            self.matcher.accept(token_id)
        certain = self.text_stream.push(token_id)
        self._write(certain)
        self._look(token_id, certain)
        if not self.is_finished and len(self.token_ids) >= self.max_tokens:
            self.finish("length")

    def _look(self, token_id: int, certain: str) -> None:
        """Ask whoever watches whether this goes on."""
        for guard in self.guards:
            reason = guard.push(token_id, certain)
            if reason is not None:
                self.finish(reason)
        if self.matcher is not None and self.matcher.is_finished:
            self.finish("stop")

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
        sampling, prompt = self.chooser.sampling, self.num_prompt_logprobs
        return Completion(
            text=self.text,
            token_ids=list(self.token_ids),
            logprobs=list(self.logprobs),
            top_logprobs=list(self.top_logprobs) if sampling.logprobs is not None else None,
            finish_reason=self.finish_reason or "abort",
            stop_reason=self.stop_reason,
            prompt_token_ids=list(self.prompt_ids),
            seed=sampling.seed,
            prompt_logprobs=None if prompt is None else list(self.prompt_logprobs),
            prompt_top_logprobs=list(self.prompt_top_logprobs) if prompt else None,
            num_cached_tokens=self.num_cached_tokens or 0,
            vector=self._vector(),
            alternatives=[],
            ttft_s=max(self.first_token_s - self.arrived_s, 0.0),
            decode_s=self.last_token_s - self.first_token_s,
        )

    def _vector(self) -> np.ndarray | None:
        if self.pooled is None:
            return None
        mean = self.pooled if self.pooling == "last" else self.pooled / len(self.prompt_ids)
        return F.normalize(mean.double(), dim=-1).float().cpu().numpy()
