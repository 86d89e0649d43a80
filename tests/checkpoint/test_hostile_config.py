"""Configs that announce more than the tensors that are there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tongwen.checkpoint.tensor_names import check_tensors
from tongwen.errors import CheckpointError
from tongwen.model.config import Qwen2Config


@pytest.fixture
def shapes(
    sparse_config: Qwen2Config,
    random_weights: Callable[[Qwen2Config], dict[str, torch.Tensor]],
) -> dict[str, tuple[int, ...]]:
    return {name: tuple(values.shape) for name, values in random_weights(sparse_config).items()}


def test_the_tensors_of_a_model_satisfy_its_config(
    sparse_config: Qwen2Config, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    check_tensors(tmp_path, sparse_config, shapes | {"extra": (1,)}, extras={"extra"})
    with pytest.raises(CheckpointError, match="has unknown tensors: `extra`"):
        check_tensors(tmp_path, sparse_config, shapes | {"extra": (1,)})


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("num_hidden_layers", 10**9, "announces 1000000000 layers, and has"),
        ("num_experts", 10**9, "announces 1000000000 experts, and has"),
        ("num_hidden_layers", 3, "lacks tensors: `model.layers.2.input_layernorm.weight`, "),
        ("num_hidden_layers", 1, "has unknown tensors: `model.layers.1.input_layernorm.weight`, "),
        ("hidden_size", 10**12, "should have shape .24, 1000000000000., has .24, 32."),
        ("vocab_size", 25, "`model.embed_tokens.weight` should have shape .25, 32., has .24, 32."),
    ],
)
def test_a_config_of_another_size_is_refused(
    field: str, value: int, what: str, *,
    sparse_config: Qwen2Config, shapes: dict[str, tuple[int, ...]], tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(CheckpointError, match=what):
        check_tensors(tmp_path, replace(sparse_config, **{field: value}), shapes)
