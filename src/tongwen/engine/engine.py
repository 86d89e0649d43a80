"""The engine: requests go in, each step moves every one of them on, completions come out."""

import contextlib
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tongwen.engine.batch import Batch
from tongwen.engine.blocks import BlockPool
from tongwen.engine.cache import PagedKV, TiledKV
from tongwen.engine.params import SamplingDefaults, SamplingParams
from tongwen.engine.request import Request
from tongwen.engine.runner import Runner, is_recordable
from tongwen.engine.sampler import TokenCounts, sample
from tongwen.engine.scheduler import Chunk, Scheduler, SchedulerConfig
from tongwen.errors import CheckpointError, ConfigError, RequestError
from tongwen.kernels.machine import torch_on_one_thread
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.stream import StopStrings, TextStream


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
    """

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        tokenizer: Tokenizer,
        *,
        defaults: SamplingDefaults,
        eos_token_ids: frozenset[int],
        config: EngineConfig,
    ) -> None:
        self.tokenizer, self.defaults, self.config = tokenizer, defaults, config
        self.eos_token_ids, self.vocab_size = eos_token_ids, model.config.vocab_size
        device = model.model.norm.weight.device
        blocks = -(-config.cache_tokens // config.block_size)
        pool = BlockPool(blocks, config.block_size)
        self.scheduler = Scheduler(config.scheduler, pool)
        self.runner = runner_for(model, blocks, config)
        self.batch = Batch(
            max_tokens=config.scheduler.max_batch_tokens,
            max_requests=config.scheduler.max_requests,
            max_blocks=pool.blocks_for(config.context),
            block_size=config.block_size,
            device=device,
        )
        self.is_native = model.machine is not None
        self.counts: dict[int, TokenCounts] = {}
        self._ids = itertools.count()

    @property
    def has_requests(self) -> bool:
        """Whether anything is waiting or running."""
        return self.scheduler.num_requests > 0

    def add(self, prompt_ids: Sequence[int], params: SamplingParams) -> Request:
        """Queue a prompt.

        Raises:
            RequestError: The prompt is empty, holds unknown ids, or does not fit the context.
        """
        self.check_prompt(prompt_ids)
        room = self.config.context - len(prompt_ids)
        if params.max_tokens is not None and params.max_tokens > room:
            raise RequestError(
                f"a prompt of {len(prompt_ids)} tokens and `max_tokens` {params.max_tokens} "
                f"exceed the context of {self.config.context}",
                hint=f"ask for at most {room} tokens, or raise `context`",
            )
        request = self._request(prompt_ids, params, max_tokens=params.max_tokens or room)
        self.counts[request.request_id] = self._count(request)
        self.scheduler.add(request)
        return request

    def step(self) -> list[Request]:
        """Move every scheduled request on; returns those that got a token or failed."""
        if not self.has_requests:
            return []
        with torch_on_one_thread() if self.is_native else contextlib.nullcontext():
            return self._step()

    def _step(self) -> list[Request]:
        chunks = self.scheduler.schedule()
        if not chunks:
            return []
        sampled = self.batch.fill(chunks)
        logits = self.runner.run(self.batch)
        # A request advances after its token is accepted: whoever is interrupted in between computes
        # a position again, and nobody waits for a token that was never sampled.
        ending = [chunk for chunk in chunks if chunk.is_last]
        self.scheduler.advance([chunk for chunk in chunks if not chunk.is_last])
        finite = logits.isfinite().all(-1).tolist()
        damage = None if all(finite) else self.runner.find_damage(self.batch)
        for request, chunk, row, is_finite in zip(sampled, ending, logits, finite, strict=True):
            if is_finite:
                self._sample(request, row)
            else:
                request.fail(_not_finite(request.num_tokens, damage))
            self.scheduler.advance([chunk])
            if request.is_finished:
                self._forget(request)
        return sampled

    def score(self, prompt_ids: Sequence[int]) -> list[float]:
        """Natural-log probability of each token but the first, computed as serving computes it.

        Raises:
            RequestError: The prompt is empty, too long, or holds unknown ids.
            CapacityError: Other requests hold the cache.
        """
        self.check_prompt(prompt_ids, room=0)
        request = self._request(prompt_ids, SamplingParams(max_tokens=1), max_tokens=1)
        pool, step = self.scheduler.pool, self.config.scheduler.max_batch_tokens
        request.block_table = pool.allocate(pool.blocks_for(len(prompt_ids)))
        logprobs: list[float] = []
        try:
            while (done := request.num_computed) < len(prompt_ids) - 1:
                chunk = Chunk(request, min(step, len(prompt_ids) - 1 - done))
                self.batch.fill([chunk])
                wanted = request.prompt_ids[done + 1 : done + 1 + chunk.num_tokens]
                logprobs += self.runner.logprobs(self.batch, wanted)
                self.scheduler.advance([chunk])
        finally:
            pool.release(request.block_table)
        return logprobs

    def abort(self, request: Request) -> None:
        """Stop a request wherever it is; what it has so far remains."""
        if not request.is_finished:
            request.finish("abort")
            self._forget(request)

    def check_prompt(self, prompt_ids: Sequence[int], *, room: int = 1) -> None:
        """Refuse what cannot be computed: nothing, too much, or ids that do not exist.

        Args:
            prompt_ids: The prompt.
            room: Tokens that must be left in the context.

        Raises:
            RequestError: With the numbers.
        """
        if not prompt_ids:
            raise RequestError("the prompt is empty", hint="give at least one token")
        if len(prompt_ids) + room > self.config.context:
            raise RequestError(
                f"a prompt of {len(prompt_ids)} tokens does not fit the context of "
                f"{self.config.context}" + (f", with {room} to be written" if room else ""),
                hint="shorten the prompt or raise `context`",
            )
        low, high = min(prompt_ids), max(prompt_ids)
        if low < 0 or high >= self.vocab_size:
            raise RequestError(
                f"token id {low if low < 0 else high} is outside the vocabulary of "
                f"{self.vocab_size}"
            )

    def _request(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, max_tokens: int
    ) -> Request:
        return Request(
            request_id=next(self._ids),
            prompt_ids=list(prompt_ids),
            sampling=params.resolve(self.defaults, seed=secrets.randbits(63)),
            max_tokens=max_tokens,
            stop_token_ids=frozenset(params.stop_token_ids)
            | (frozenset() if params.ignore_eos else self.eos_token_ids),
            text_stream=TextStream(self.tokenizer),
            stop_strings=StopStrings(params.stop_strings),
        )

    def _count(self, request: Request) -> TokenCounts:
        counts = TokenCounts()
        if request.sampling.penalizes:
            for token_id in request.prompt_ids:
                counts.add(token_id, generated=False)
        return counts

    def _sample(self, request: Request, logits: torch.Tensor) -> None:
        counts = self.counts[request.request_id]
        chosen = sample(logits, request.sampling, request.num_tokens, counts, len(self.tokenizer))
        if request.sampling.penalizes:
            counts.add(chosen.token_id, generated=True)
        request.accept(*chosen)

    def _forget(self, request: Request) -> None:
        self.scheduler.remove(request)
        self.counts.pop(request.request_id, None)


def runner_for(model: Qwen2ForCausalLM, num_blocks: int, config: EngineConfig) -> Runner:
    """A runner with the cache that suits the model: a packed one is native throughout."""
    packed = model.machine
    if packed is None:
        weight = model.model.norm.weight
        cache = PagedKV(
            model.config,
            num_blocks=num_blocks,
            block_size=config.block_size,
            dtype=weight.dtype,
            device=weight.device,
        )
        return Runner(model, cache)
    if config.block_size != TiledKV.BLOCK_SIZE:
        raise ConfigError(
            f"`block_size` must be {TiledKV.BLOCK_SIZE} on native kernels, not {config.block_size}"
        )
    tiled = TiledKV(model.config, packed, num_blocks=num_blocks, context=config.context)
    return Runner(model, tiled, packed if is_recordable(model) else None)


def _not_finite(position: int, damage: str | None) -> CheckpointError:
    where = "" if damage is None else f"; the first thing that is not comes out of `{damage}`"
    return CheckpointError(
        f"the model's logits at position {position} are not finite{where}",
        hint="the weights are damaged, or overflow in this number format",
    )
