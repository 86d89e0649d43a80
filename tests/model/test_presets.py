"""The five published sizes: every field, every count (table 1 of the report and the configs)."""

import pytest
import torch

from tongwen.errors import ConfigError
from tongwen.model.account import count_parameters, kv_bytes_per_token
from tongwen.model.presets import SIZES, preset
from tongwen.model.qwen2 import Qwen2ForCausalLM

# total, without embedding and head
COUNTS = {
    "0.5b": (494_032_768, 357_898_112),
    "1.5b": (1_543_714_304, 1_310_340_608),
    "7b": (7_615_616_512, 6_525_621_760),
    "57b-a14b": (57_408_658_944, 56_319_581_696),
    "72b": (72_706_203_648, 70_214_787_072),
}
KV_KIB = {"0.5b": 12, "1.5b": 28, "7b": 56, "57b-a14b": 56, "72b": 320}

# width, layers, heads, key heads, head size, ffn, rows, tied, windows and layers before them (base,
# then instruct), epsilon (base)
TABLE = {
    "0.5b": (896, 24, 14, 2, 64, 4864, 151_936, True, (131_072, 32_768), (24, 24), 1e-6),
    "1.5b": (1536, 28, 12, 2, 128, 8960, 151_936, True, (131_072, 32_768), (28, 28), 1e-6),
    "7b": (3584, 28, 28, 4, 128, 18_944, 152_064, False, (131_072, 131_072), (28, 28), 1e-6),
    "57b-a14b": (3584, 28, 28, 4, 128, 18_944, 151_936, False, (131_072, 65_536), (28, 28), 1e-6),
    "72b": (8192, 80, 64, 8, 128, 29_568, 152_064, False, (131_072, 131_072), (28, 80), 1e-5),
}


def test_there_are_five_sizes_smallest_first() -> None:
    assert tuple(TABLE) == SIZES


@pytest.mark.parametrize("instruct", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_every_field_is_that_of_the_published_config(size: str, instruct: bool) -> None:
    dim, layers, heads, kv_heads, head_dim, ffn, rows, tied, windows, full, eps = TABLE[size]
    config = preset(size, instruct=instruct)
    assert (config.hidden_size, config.num_hidden_layers) == (dim, layers)
    assert (config.num_attention_heads, config.num_key_value_heads) == (heads, kv_heads)
    assert (config.head_size, config.intermediate_size) == (head_dim, ffn)
    assert (config.vocab_size, config.tie_word_embeddings) == (rows, tied)
    assert config.max_position_embeddings == (32_768 if instruct else 131_072)
    assert config.sliding_window == windows[instruct]
    assert config.max_window_layers == full[instruct]
    assert config.rms_norm_eps == (1e-6 if instruct else eps)
    assert config.rope_theta == 1_000_000
    assert config.initializer_range == 0.02
    assert config.rope_scaling is None
    assert not config.use_sliding_window
    assert all(config.window(layer) is None for layer in range(layers))


def test_the_mixture_is_64_experts_top_8_and_a_shared_one_of_eight_times_the_width() -> None:
    config = preset("57b-a14b")
    assert (config.num_experts, config.num_experts_per_tok) == (64, 8)
    assert (config.moe_intermediate_size, config.shared_expert_intermediate_size) == (2560, 20_480)
    assert not config.norm_topk_prob
    assert config.router_aux_loss_coef == 0.001
    assert all(config.is_sparse(layer) for layer in range(28))
    assert not any(preset(size).num_experts for size in SIZES if size != "57b-a14b")


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_counted_exactly(size: str) -> None:
    counted = count_parameters(preset(size))
    assert (counted.total, counted.non_embedding) == COUNTS[size]
    if size != "57b-a14b":
        assert counted.active == counted.total


@pytest.mark.parametrize("size", SIZES)
def test_the_model_itself_has_as_many_parameters_as_are_counted(size: str) -> None:
    with torch.device("meta"):
        model = Qwen2ForCausalLM(preset(size))
    assert sum(weight.numel() for weight in model.parameters()) == COUNTS[size][0]


def test_fourteen_billion_of_the_mixture_are_active() -> None:
    counted = count_parameters(preset("57b-a14b"))
    assert counted.active == 14_249_270_784
    assert counted.active_non_embedding == 13_160_193_536


@pytest.mark.parametrize("size", SIZES)
def test_a_token_of_the_cache_takes_the_published_bytes(size: str) -> None:
    assert kv_bytes_per_token(preset(size)) == KV_KIB[size] * 1024
    assert kv_bytes_per_token(preset(size), bytes_per_value=4) == KV_KIB[size] * 2048


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"`3b`.*0\.5b, 1\.5b, 7b, 57b-a14b, 72b"):
        preset("3b")
