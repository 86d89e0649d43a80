"""Shapes that make sense are taken, others are refused with their numbers."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from tongwen.errors import ConfigError
from tongwen.model.config import Qwen2Config, Yarn

MOE: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 8,
}
WINDOWED: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab_size": 0}, "`vocab_size` must be at least 1, not 0"),
        ({"num_hidden_layers": -1}, "`num_hidden_layers` must be at least 1, not -1"),
        ({"rope_theta": 0.0}, "`rope_theta`"),
        ({"rms_norm_eps": -1e-6}, "`rms_norm_eps`"),
        ({"num_key_value_heads": 3}, r"`num_attention_heads` \(4\).*`num_key_value_heads` \(3\)"),
        ({"hidden_size": 30}, r"`hidden_size` \(30\).*`num_attention_heads` \(4\)"),
        ({"head_dim": 7}, r"`head_dim` \(7\)"),
        ({"head_dim": 0}, r"`head_dim` \(0\)"),
        ({"head_dim": -2}, r"`head_dim` \(-2\)"),
        ({"use_sliding_window": True}, "positive `sliding_window`, not None"),
        ({**WINDOWED, "sliding_window": 0}, "positive `sliding_window`, not 0"),
        ({"layer_types": ("full_attention",)}, "`layer_types` lists 1 layers"),
        ({**MOE, "num_experts_per_tok": 5}, r"`num_experts_per_tok` \(5\)"),
        ({**MOE, "num_experts_per_tok": 0}, r"`num_experts_per_tok` \(0\)"),
        ({**MOE, "moe_intermediate_size": 0}, "`moe_intermediate_size`"),
        ({**MOE, "decoder_sparse_step": 0}, "`decoder_sparse_step`"),
    ],
)
def test_an_impossible_shape_is_refused(
    tiny_config: Qwen2Config, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(tiny_config, **change)


def test_yarn_refuses_to_shrink() -> None:
    with pytest.raises(ConfigError, match=r"0\.5 and 32"):
        Yarn(factor=0.5, original_max_position_embeddings=32)
    with pytest.raises(ConfigError, match=r"2\.0 and 0"):
        Yarn(factor=2.0, original_max_position_embeddings=0)


def test_a_config_cannot_be_changed(tiny_config: Qwen2Config) -> None:
    with pytest.raises(FrozenInstanceError):
        tiny_config.vocab_size = 3  # type: ignore[misc]


def test_head_dim_overrides_the_quotient(tiny_config: Qwen2Config) -> None:
    assert tiny_config.head_size == 8
    assert replace(tiny_config, head_dim=24).head_size == 24


def test_the_first_max_window_layers_see_everything(tiny_config: Qwen2Config) -> None:
    config = replace(tiny_config, **WINDOWED, max_window_layers=1)
    assert [config.window(layer) for layer in range(3)] == [None, 4, 4]


def test_listed_layer_types_override_the_count(tiny_config: Qwen2Config) -> None:
    types = ("sliding_attention", "full_attention", "sliding_attention")
    config = replace(tiny_config, **WINDOWED, max_window_layers=3, layer_types=types)
    assert [config.window(layer) for layer in range(3)] == [4, None, 4]


def test_a_window_that_is_not_used_is_ignored(tiny_config: Qwen2Config) -> None:
    types = ("sliding_attention",) * 3
    config = replace(tiny_config, sliding_window=4, max_window_layers=0, layer_types=types)
    assert [config.window(layer) for layer in range(3)] == [None] * 3


def test_sparse_layers_are_every_stepth_but_those_listed(tiny_config: Qwen2Config) -> None:
    config = replace(
        tiny_config, **MOE, num_hidden_layers=8, decoder_sparse_step=2, mlp_only_layers=(3,)
    )
    assert [layer for layer in range(8) if config.is_sparse(layer)] == [1, 5, 7]
    assert not any(tiny_config.is_sparse(layer) for layer in range(3))
