"""The engine: requests go in, each step moves every one of them on, completions come out."""

import contextlib
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

from torch import Tensor

from tongwen.engine.admission import Admission
from tongwen.engine.admit import admit
from tongwen.engine.batch import Batch, Part
from tongwen.engine.blocks import BlockPool
from tongwen.engine.constraint import Constraint
from tongwen.engine.params import SamplingDefaults, SamplingParams
from tongwen.engine.prompts import look_at_prompt
from tongwen.engine.request import Matcher, Request
from tongwen.engine.runner import runner_for
from tongwen.engine.sampler import Sample, choose
from tongwen.engine.scheduler import Chunk, Scheduler, SchedulerConfig
from tongwen.engine.speculate import Proposer
from tongwen.engine.turn import Turn, failing_alone, readings, turns_of
from tongwen.errors import CheckpointError, ConfigError, RequestError
from tongwen.kernels.sampling import NONE_ALLOWED, NOT_FINITE
from tongwen.kernels.threads import torch_on_one_thread
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.tokenizer.bpe import Tokenizer

if TYPE_CHECKING:
    from tongwen.engine.grammar import Grammars

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """How much the engine holds and does at once."""

    context: int
    """Most tokens of one request, prompt and completion together."""

    cache_tokens: int
    """Tokens that the cache holds for all requests together."""

    block_size: int = 32
    """Tokens of one cache block."""

    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    """How much one step may do."""

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise ConfigError(f"`block_size` must be at least 1, not {self.block_size}")
        if not 1 <= self.context <= self.cache_tokens:
            raise ConfigError(
                f"`context` ({self.context}) must be at least 1 and at most `cache_tokens` "
                f"({self.cache_tokens})"
            )


class Engine:
    """Continuous batching over a paged cache.

    Args:
        model: Ready to run.
        tokenizer: Turns sampled ids into text.
        defaults: Sampling values where a request names none.
        eos_token_ids: Ids that end a completion.
        config: Sizes.
        identity: Everything else that cached keys and values depend on: checkpoint and numerics.
    """

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        tokenizer: Tokenizer,
        *,
        defaults: SamplingDefaults,
        eos_token_ids: frozenset[int],
        config: EngineConfig,
        identity: str = "",
    ) -> None:
        self.tokenizer, self.defaults, self.config = tokenizer, defaults, config
        self.eos_token_ids, self.vocab_size = eos_token_ids, model.config.vocab_size
        self.identity, self.weights_version = identity, 0
        device = model.model.norm.weight.device
        blocks = -(-config.cache_tokens // config.block_size)
        pool = BlockPool(blocks, config.block_size)
        self.scheduler = Scheduler(config.scheduler, pool)
        self.runner = runner_for(
            model, num_blocks=blocks, block_size=config.block_size, context=config.context
        )
        self.batch = Batch(
            max_tokens=config.scheduler.max_batch_tokens,
            max_requests=config.scheduler.max_requests,
            max_blocks=pool.blocks_for(config.context),
            block_size=config.block_size,
            device=device,
        )
        self.is_native = model.machine is not None
        self.proposers: Sequence[Proposer] = ()
        self._drafted_by: dict[int, Proposer] = {}
        self._ids = itertools.count()

    @property
    def has_requests(self) -> bool:
        """Whether anything is waiting or running."""
        return self.scheduler.num_requests > 0

    def add(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        admission: Admission | None = None,
    ) -> Request:
        """Queue a prompt.

        Args:
            prompt_ids: The prompt.
            params: How its completions are chosen and when they end.
            admission: Who asks, how urgently, and what else comes with the request.

        Raises:
            RequestError: The prompt is empty, holds unknown ids, or does not fit the context.
            BusyError: Too many requests wait.
        """
        request = admit(self, prompt_ids, params, admission or Admission())
        self.scheduler.add(request)
        return request

    def step(self) -> list[Request]:
        """Move every scheduled request on; returns those that got a token, an end or an error."""
        if not self.has_requests:
            return []
        with torch_on_one_thread() if self.is_native else contextlib.nullcontext():
            return self._step()

    def _step(self) -> list[Request]:
        self._draft()
        chunks = self.scheduler.schedule()
        if not chunks:
            return []
        self.runner.cache.copy(self.scheduler.copies)
        self.scheduler.copies.clear()
        parts = self.batch.fill(chunks)
        for part in parts:
            if part.request.num_cached_tokens is None:
                part.request.num_cached_tokens = part.request.num_computed
        logits, hidden = self.runner.run(self.batch)
        # A request advances after its token is accepted: whoever is interrupted in between computes
        # a position again, and nobody waits for a token that was never sampled.
        if hidden is not None:
            for part in parts:
                if part.request.looks_at_prompt and not part.request.token_ids:
                    with failing_alone(part.request):
                        look_at_prompt(self.runner, part, hidden)
        moved = self._sample(parts, logits)
        return [*moved, *self._advance(parts)]

    def _draft(self) -> None:
        """Guess at the tokens that come next, where that pays."""
        decoding = [
            request
            for request in self.scheduler.running
            if isinstance(request, Request) and request.num_computed == request.num_tokens - 1
        ]
        self._drafted_by.clear()
        for proposer in self.proposers:
            try:
                proposer.propose(decoding)
            except Exception:  # a guess must never fail a step
                log.exception("guessing failed")
                for request in decoding:
                    request.draft_ids = []
            for request in decoding:
                if request.draft_ids:
                    self._drafted_by.setdefault(request.request_id, proposer)

    def _sample(self, parts: list[Part], logits: Tensor) -> list[Request]:
        """Choose tokens: one for each request, and one more for each draft that proves right."""
        turns = turns_of(parts)
        moved = [turn.request for turn in turns]
        find_damage = cache(lambda: self.runner.find_damage(self.batch))  # once for all of a step
        while turns:
            ready, choices = readings(turns)
            rows = [turn.row for turn in ready]
            mine = logits if rows == list(range(len(logits))) else logits[rows]
            samples = choose(mine, choices, len(self.tokenizer)) if choices else []
            turns = [
                turn.next()
                for turn, sample in zip(ready, samples, strict=True)
                if self._accept(turn, sample, find_damage)
            ]
        return moved

    def _accept(self, turn: Turn, sample: Sample, find_damage: Callable[[], str | None]) -> bool:
        """Give a request its token; whether its next draft can be looked at."""
        request = turn.request
        if sample.token_id == NOT_FINITE:
            with failing_alone(request):
                raise _not_finite(request.num_tokens, find_damage())
        elif sample.token_id == NONE_ALLOWED:
            request.fail(
                RequestError(
                    f"after {len(request.token_ids)} tokens the parameters forbid every token"
                )
            )
        else:
            with failing_alone(request):
                request.accept(*sample)
        return not request.is_finished and turn.proves(sample.token_id)

    def _advance(self, parts: list[Part]) -> list[Request]:
        """Record what was computed; returns requests that ended without a token."""
        ended: list[Request] = []
        for part in parts:
            request = part.request
            if part.samples:
                self._settle(part.chunk, request)
            else:
                is_done = part.chunk.is_last
                self.scheduler.advance(part.chunk)
                if is_done:
                    request.finish("length")
                    ended.append(request)
            if request.is_finished:
                self.scheduler.remove(request)
        return ended

    def _settle(self, chunk: Chunk, request: Request) -> None:
        """After what is known is computed: wrong drafts are dropped, followers go on alone."""
        drafted, request.draft_ids = request.draft_ids, []
        computed = request.num_computed + chunk.num_tokens - chunk.num_drafts
        if drafted:
            right = max(request.num_tokens - 1 - computed, 0)
            computed += right
            if proposer := self._drafted_by.pop(request.request_id, None):
                proposer.learn(request, chunk.num_drafts, right)
        self.scheduler.advance(chunk, computed)
        followers, request.followers = request.followers, []
        for follower in followers:
            if not follower.is_finished:
                follower.num_cached_tokens = request.num_cached_tokens
                self.scheduler.fork(request, follower)

    def abort(self, request: Request) -> None:
        """Stop a request wherever it is; what it has so far remains.

        Other completions of its prompt go on.
        """
        if request.is_finished:
            return
        request.finish("abort")
        had_begun = request in self.scheduler.running
        self.scheduler.remove(request)
        left = [follower for follower in request.followers if not follower.is_finished]
        request.followers = []
        if left:
            left[0].followers = left[1:]
            queue = self.scheduler.waiting
            (queue.put_back if had_begun else queue.add)(left[0])

    @property
    def most_tokens(self) -> int:
        """Tokens that one request may have, prompt and completion together."""
        return min(self.config.context, self.scheduler.pool.num_tokens)

    def matcher_for(self, constraint: Constraint) -> Matcher:
        """What holds one completion to a constraint; grammars are compiled once.

        Raises:
            RequestError: The constraint is malformed, too large, or cannot be enforced.
        """
        grammar = self._grammars.compile(constraint)
        for warning in grammar.warnings:
            log.warning("%s", warning)
        return grammar.matcher()

    def prepare(self, constraint: Constraint) -> None:
        """Compile a constraint that a request is about to bring; in any thread, also beside steps.

        Raises:
            RequestError: As `matcher_for`.
        """
        self._grammars.compile(constraint)

    @cached_property
    def _grammars(self) -> "Grammars":
        # Imported when first asked for: most answers have no constraint.
        from tongwen.engine.grammar import Grammars

        eos = sorted(self.eos_token_ids)
        return Grammars(self.tokenizer, num_rows=self.vocab_size, eos_token_ids=eos)

    def next_id(self) -> int:
        """A number that no other request has."""
        return next(self._ids)

    def refresh_weights(self) -> None:
        """Take note that the model's weights have changed: nothing cached is found again."""
        self.weights_version += 1
        self.scheduler.pool.forget()
        for request in (*self.scheduler.waiting, *self.scheduler.running):
            assert isinstance(request, Request), "the engine schedules nothing but requests"
            # What a running request has computed is of the old weights: nobody shall find it.
            mixed = request in self.scheduler.running
            key = secrets.token_bytes(16) if mixed else self.root_key(request.adapter, request.salt)
            for one in (request, *request.followers):
                one.rekey(key)

    def root_key(self, adapter: int, salt: str) -> bytes:
        """What cached blocks depend on besides the tokens up to them."""
        parts = (self.identity, str(self.weights_version), str(adapter), salt)
        return blake2b("\0".join(parts).encode(), digest_size=16).digest()


def _not_finite(position: int, damage: str | None) -> CheckpointError:
    where = "" if damage is None else f"; the first thing that is not comes out of `{damage}`"
    return CheckpointError(
        f"the model's logits at position {position} are not finite{where}",
        hint="the weights are damaged, or overflow in this number format",
    )
