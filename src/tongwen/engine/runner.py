"""Runs the model over a batch: by its modules, or by replaying what they did."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tongwen.engine.batch import Batch
from tongwen.engine.cache import PagedKV, TiledKV
from tongwen.kernels.machine import Machine, Recording, Ring
from tongwen.model.config import Qwen2Config
from tongwen.model.heads import LanguageHead, PackedLanguageHead
from tongwen.model.linear import Embedding, Linear
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream


class Runner:
    """One step of the model: from a batch to the logits of the rows that are wanted.

    Args:
        model: Ready to run.
        cache: Where its keys and values are kept.
        machine: Native kernels that do *all* of the model's work, if there are such: steps that
            only decode are then recorded, one for each number of requests, and replayed.
    """

    def __init__(
        self, model: Qwen2ForCausalLM, cache: PagedKV | TiledKV, machine: Machine | None = None
    ) -> None:
        self.model, self.cache, self.machine = model, cache, machine
        self._recorded: dict[int, tuple[Recording, Tensor]] = {}
        self._ring: Ring | None = None

    @torch.inference_mode()
    def run(self, batch: Batch) -> Float[Tensor, "samples vocab"]:
        """Compute the batch, write its keys and values, return logits in float32 at least."""
        if self.machine is not None and batch.is_decode:
            return self._replay(batch, self.machine)
        hidden = self._hidden(batch)
        wanted = hidden[batch.sample_rows[: batch.num_samples]]
        logits = self.model.lm_head(wanted, Stream(attend=self.cache))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @torch.inference_mode()
    def logprobs(self, batch: Batch, targets: list[int]) -> list[float]:
        """Natural-log probability of each target after the token of its row."""
        hidden, stream = self._hidden(batch), Stream(attend=self.cache)
        wanted = torch.tensor(targets, device=hidden.device)
        return self.model.lm_head.logprobs(hidden, wanted, stream).tolist()

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
            wanted = self._hidden(batch)[batch.sample_rows[: batch.num_samples]]
            self.model.lm_head(wanted, Stream(attend=self.cache))
        finally:
            for watch in watches:
                watch.remove()
        return found[0] if found else None

    def _hidden(self, batch: Batch) -> Float[Tensor, "tokens dim"]:
        self.cache.begin(batch)
        token_ids = batch.token_ids[: batch.num_tokens]
        return self.model.model(token_ids, Stream(attend=self.cache))

    def _replay(self, batch: Batch, machine: Machine) -> Float[Tensor, "samples vocab"]:
        """Every row is one request's only token, so each step of this size is the same calls."""
        if batch.num_tokens not in self._recorded:
            ring = self._ring_for(len(batch.context_lens))
            with machine.record(ring) as recording:
                logits = self.model.lm_head(self._hidden(batch), Stream(attend=self.cache))
            self._recorded[batch.num_tokens] = recording, logits
            return logits
        recording, logits = self._recorded[batch.num_tokens]
        recording.replay()
        return logits

    def _ring_for(self, max_rows: int) -> Ring:
        """One ring for all recordings: only one is replayed at a time."""
        if self._ring is None:
            self._ring = Ring(max_rows * ring_values(self.model.config))
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

    Not so where experts are chosen, or where a matrix has no native product.
    """
    return not model.config.num_experts and not any(
        isinstance(module, Linear | Embedding | LanguageHead)
        and not isinstance(module, PackedLanguageHead)
        for module in model.modules()
    )


def ring_values(config: Qwen2Config) -> int:
    """Values that one row of results takes in a ring: those of two blocks, and the logits."""
    q_dim = config.num_attention_heads * config.head_size
    kv_dim = config.num_key_value_heads * config.head_size
    block = 6 * config.hidden_size + 2 * q_dim + 2 * kv_dim + 3 * config.intermediate_size
    # The head reads the last norm while it writes logits: neither may take the other's place.
    return 2 * (block + 16 * 16) + config.hidden_size + 2 * config.vocab_size
