"""Runs the model over a batch: by its modules, or by replaying what they did."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tongwen.engine.batch import Batch
from tongwen.engine.cache import PagedKV, TiledKV
from tongwen.errors import ConfigError
from tongwen.kernels.machine import Machine, Recording
from tongwen.kernels.memory import Ring
from tongwen.model.config import Qwen2Config
from tongwen.model.heads import LanguageHead, PackedLanguageHead
from tongwen.model.linear import DecidingLinear, Embedding, Linear
from tongwen.model.mlp import Experts
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream


class Output(NamedTuple):
    """What a step computed."""

    logits: Float[Tensor, "samples vocab"]
    """Of the rows that are sampled after, in float32 at least; the next step may overwrite them."""

    hidden: Float[Tensor, "tokens dim"] | None
    """Of all rows; `None` where the step was replayed."""


class Runner:
    """One step of the model: from a batch to the logits of the rows that are wanted.

    Args:
        model: Ready to run.
        cache: Where its keys and values are kept.
        machine: Native kernels that do *all* of the model's work, if there are such: steps that
            only decode are then recorded, one for each number of tokens and requests, and replayed.
        max_recorded: Most tokens of such a step.
    """

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        cache: PagedKV | TiledKV,
        machine: Machine | None = None,
        max_recorded: int = 64,
    ) -> None:
        self.model, self.cache, self.machine = model, cache, machine
        self.max_recorded = max_recorded
        self._recorded: dict[tuple[int, int], tuple[Recording, Tensor]] = {}
        self._ring: Ring | None = None

    @torch.inference_mode()
    def run(self, batch: Batch) -> Output:
        """Compute the batch, write its keys and values."""
        if self.machine is not None and batch.is_decode and batch.num_tokens <= self.max_recorded:
            return Output(self._replay(batch, self.machine), None)
        hidden = self._hidden(batch)
        wanted = hidden[batch.sample_rows[: batch.num_samples]]
        return Output(self.logits(wanted), hidden)

    @torch.inference_mode()
    def logits(self, hidden: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows vocab"]:
        """Logits after rows of hidden states, in float32 at least."""
        logits = self.model.lm_head(hidden, Stream(attend=self.cache))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @torch.inference_mode()
    def logprobs(
        self, hidden: Float[Tensor, "rows dim"], targets: Int[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """Natural-log probability of each target after its row."""
        return self.model.lm_head.logprobs(hidden, targets, Stream(attend=self.cache))

    @torch.inference_mode()
    def find_damage(self, batch: Batch) -> str | None:
        """Name the first module that makes of finite input what is not finite.

        The batch that `run` has just computed is computed again, module by module, every result
        looked at; what it writes to the cache is what is there.
        """
        found: list[str] = []
        watches = [
            module.register_forward_hook(_watch(name, found))
            for name, module in self.model.named_modules()
            if name
        ]
        try:
            wanted = self._hidden(batch, is_watched=True)[batch.sample_rows[: batch.num_samples]]
            self.model.lm_head(wanted, Stream(attend=self.cache))
        finally:
            for watch in watches:
                watch.remove()
        return found[0] if found else None

    def _hidden(self, batch: Batch, *, is_watched: bool = False) -> Float[Tensor, "tokens dim"]:
        self.cache.begin(batch)
        count = batch.num_tokens
        adapter = batch.adapters[:count] if batch.is_adapted else None
        stream = Stream(attend=self.cache, adapter=adapter, is_watched=is_watched)
        return self.model.model(batch.token_ids[:count], stream)

    def _replay(self, batch: Batch, machine: Machine) -> Float[Tensor, "samples vocab"]:
        """Every row is sampled after, so each step of this size is the same calls."""
        size = batch.num_tokens, batch.num_requests
        if size not in self._recorded:
            with machine.record(self._ring_for(batch.num_tokens)) as recording:
                logits = self.model.lm_head(self._hidden(batch), Stream(attend=self.cache))
            self._recorded[size] = recording, logits
            return logits
        recording, logits = self._recorded[size]
        recording.replay()
        return logits

    def _ring_for(self, num_rows: int) -> Ring:
        """One ring for all recordings: only one is replayed at a time."""
        row = ring_values(self.model.config)
        if self._ring is None:
            self._ring = Ring(self.max_recorded * row)
        self._ring.begin(num_rows * row)
        return self._ring


def _watch(name: str, found: list[str]) -> Callable[..., None]:
    """A hook that notes the module's name where damage begins in it; children come first."""

    def look(_: nn.Module, inputs: tuple[object, ...], output: Tensor) -> None:
        sound = all(bool(x.isfinite().all()) for x in inputs if isinstance(x, Tensor))
        if sound and not output.isfinite().all():
            found.append(name)

    return look


def is_recordable(model: Qwen2ForCausalLM) -> bool:
    """Whether all of a step is native calls, the same ones each time.

    Not so where a matrix has no native product, or experts are called one by one.
    """
    plain = (Linear, Embedding, LanguageHead, Experts)
    native = (DecidingLinear, PackedLanguageHead)
    return not any(
        isinstance(module, plain) and not isinstance(module, native) for module in model.modules()
    )


def ring_values(config: Qwen2Config) -> int:
    """Values that one row of results takes in a ring: those of two blocks, and the logits."""
    q_dim = config.num_attention_heads * config.head_size
    kv_dim = config.num_key_value_heads * config.head_size
    # scores, counts and pairs of the routed experts; their sum, and that with the shared one
    routing = 3 * config.num_experts + 5 * config.num_experts_per_tok + 1
    ffn = max(config.intermediate_size, config.shared_expert_intermediate_size)
    block = 8 * config.hidden_size + 2 * q_dim + 2 * kv_dim + 3 * ffn + routing
    # The head reads the last norm while it writes logits: neither may take the other's place.
    return 2 * (block + 16 * 24) + config.hidden_size + 2 * config.vocab_size


def runner_for(
    model: Qwen2ForCausalLM, *, num_blocks: int, block_size: int, context: int
) -> Runner:
    """A runner with the cache that suits the model: a packed one is native throughout.

    Args:
        model: Ready to run.
        num_blocks: Blocks of the cache.
        block_size: Tokens of one block.
        context: Most tokens of one request.

    Raises:
        ConfigError: The native kernels know no blocks of this size.
    """
    packed = model.machine
    if packed is None:
        weight = model.model.norm.weight
        cache = PagedKV(
            model.config,
            num_blocks=num_blocks,
            block_size=block_size,
            dtype=weight.dtype,
            device=weight.device,
        )
        return Runner(model, cache)
    if block_size != TiledKV.BLOCK_SIZE:
        raise ConfigError(
            f"`block_size` must be {TiledKV.BLOCK_SIZE} on native kernels, not {block_size}"
        )
    tiled = TiledKV(model.config, packed, num_blocks=num_blocks, context=context)
    return Runner(model, tiled, packed if is_recordable(model) else None)
