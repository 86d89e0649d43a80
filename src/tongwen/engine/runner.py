"""Runs the model over a batch and keeps its cache."""

import torch
from jaxtyping import Float
from torch import Tensor

from tongwen.engine.batch import Batch
from tongwen.engine.cache import PagedKV
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream


class Runner:
    """One step of the model: from a batch to the logits of the rows that are wanted."""

    def __init__(self, model: Qwen2ForCausalLM, cache: PagedKV) -> None:
        self.model, self.cache = model, cache

    @torch.inference_mode()
    def run(self, batch: Batch) -> Float[Tensor, "samples vocab"]:
        """Compute the batch, write its keys and values, return logits in float32 at least."""
        self.cache.begin(batch)
        stream = Stream(attend=self.cache)
        hidden = self.model.model(batch.token_ids[: batch.num_tokens], stream)
        wanted = hidden[batch.sample_rows[: batch.num_samples]]
        logits = self.model.lm_head(wanted, stream)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
