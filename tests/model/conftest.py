"""Tiny models in float64 with weights large enough to matter."""

from collections.abc import Callable

import pytest
import torch

from tongwen.model.config import Qwen2Config
from tongwen.model.qwen2 import Qwen2ForCausalLM


@pytest.fixture(scope="session")
def random_model() -> Callable[[Qwen2Config], Qwen2ForCausalLM]:
    """Makes a model whose every weight, bias and norm is random."""

    def make(config: Qwen2Config) -> Qwen2ForCausalLM:
        generator = torch.Generator().manual_seed(13)
        model = Qwen2ForCausalLM(config).double()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.normal_(1.0 if "norm" in name else 0.0, 0.2, generator=generator)
        return model.eval()

    return make
