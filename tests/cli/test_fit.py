"""Does it fit: numbers by name and by header, and the advice."""

from dataclasses import replace
from pathlib import Path

import pytest

from tongwen.checkpoint.configs import read_config
from tongwen.checkpoint.fit import (
    GIB,
    WORKING_BYTES,
    Need,
    Stored,
    check_fits,
    held_bytes,
    largest_fitting,
    need_of_files,
    need_of_offer,
)
from tongwen.checkpoint.offers import offers
from tongwen.errors import CapacityError
from tongwen.model.account import count_parameters, kv_bytes_per_token
from tongwen.model.config import Qwen2Config
from tongwen.model.presets import SIZES, preset


@pytest.mark.parametrize("size", SIZES)
def test_a_name_of_the_table_needs_what_its_shape_needs(size: str) -> None:
    config = preset(size)
    need = need_of_offer(offers()[f"qwen2:{size}-bf16"], weights="bf16", context=1000)
    assert need.kv_bytes == 1000 * kv_bytes_per_token(config, 2)
    # Two published parameter counts differ in padding rows of the vocabulary.
    assert need.weights_bytes == pytest.approx(2 * count_parameters(config).total, rel=1e-4)


# Shapes of the published `config.json`: layers, width, heads, kv_heads, ffn, rows, tied.
OTHERS = {
    "qwen2.5:3b": (36, 2048, 16, 2, 11_008, 151_936, True),
    "qwen2.5:14b": (48, 5120, 40, 8, 13_824, 152_064, False),
    "qwen2.5:32b": (64, 5120, 40, 8, 27_648, 152_064, False),
    "qwen1.5:0.5b": (24, 1024, 16, 16, 2816, 151_936, True),
    "qwen1.5:1.8b": (24, 2048, 16, 16, 5504, 151_936, False),
    "qwen1.5:4b": (40, 2560, 20, 20, 6912, 151_936, False),
    "qwen1.5:7b": (32, 4096, 32, 32, 11_008, 151_936, False),
    "qwen1.5:14b": (40, 5120, 40, 40, 13_696, 152_064, False),
    "qwen1.5:32b": (64, 5120, 40, 8, 27_392, 152_064, False),
    "qwen1.5:72b": (80, 8192, 64, 64, 24_576, 152_064, False),
    "deepseek-r1-distill-qwen:1.5b": (28, 1536, 12, 2, 8960, 151_936, False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_cache_of_each_shape_is_that_of_its_published_config(name: str) -> None:
    layers, width, heads, kv_heads, ffn, rows, tied = OTHERS[name]
    config = Qwen2Config(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=32_768,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_word_embeddings=tied,
    )
    offer = offers()[name]
    # The weights agree, so this is the shape; then its cache must agree too.
    assert offer.num_parameters == count_parameters(config).total
    need = need_of_offer(offer, weights="bf16", context=1)
    assert need.kv_bytes == kv_bytes_per_token(config, 2)


def test_every_name_of_the_table_has_a_need() -> None:
    for offer in offers().values():
        assert need_of_offer(offer).total_bytes > offer.num_bytes // 4 + WORKING_BYTES


@pytest.mark.parametrize(
    ("weights", "blocks", "bf16", "gptq"),
    [("auto", 4, 2, 4), ("file", 4, 2, 4), ("bf16", 2, 2, 2), ("float32", 4, 4, 4)],
)
def test_plain_weights_are_numbers(weights: str, blocks: int, bf16: int, gptq: int) -> None:
    stored = Stored(num_parameters=1000, num_bytes=600, is_bf16=False, is_gguf=True)
    assert held_bytes(stored, weights, native=False) == 1000 * blocks
    two_bytes = Stored(num_parameters=1000, num_bytes=2000, is_bf16=True, is_gguf=False)
    assert held_bytes(two_bytes, weights, native=False) == 1000 * bf16
    packed = Stored(num_parameters=1000, num_bytes=600, is_bf16=False, is_gguf=False)
    assert held_bytes(packed, weights, native=False) == 1000 * gptq


def test_native_weights_are_as_small_as_asked_for() -> None:
    blocks = Stored(num_parameters=1024, num_bytes=600, is_bf16=False, is_gguf=True)
    bf16 = Stored(num_parameters=1024, num_bytes=2048, is_bf16=True, is_gguf=False)
    assert held_bytes(blocks, "auto", native=True) == held_bytes(blocks, "file", native=True) == 600
    assert held_bytes(bf16, "auto", native=True) == held_bytes(bf16, "int8", native=True) == 1088
    assert held_bytes(bf16, "file", native=True) == 2048
    assert held_bytes(bf16, "int4", native=True) == 576
    assert held_bytes(bf16, "float32", native=True) == 4096


def test_a_directory_needs_what_its_files_hold(tiny_chat: Path) -> None:
    config = read_config(tiny_chat)
    need = need_of_files(tiny_chat, context=100)
    assert need.weights_bytes == pytest.approx(4 * count_parameters(config).total, rel=0.05)
    assert need.kv_bytes == 100 * kv_bytes_per_token(config, 4)
    half = need_of_files(tiny_chat, weights="bf16", context=100)
    assert half.kv_bytes == need.kv_bytes // 2


def test_a_refusal_has_the_numbers_and_the_largest_name_that_fits() -> None:
    need = need_of_offer(offers()["qwen2:72b"], weights="float32")
    with pytest.raises(CapacityError) as caught:
        check_fits("qwen2:72b", need, 24 * GIB, weights="bf16", family="qwen2")
    assert "`qwen2:72b` needs 271.2 GiB of memory for its weights" in caught.value.message
    assert "4096 tokens of context; 24.0 GiB are free" in caught.value.message
    assert caught.value.hint == "the largest that fits is `qwen2:7b`, with 14.8 GiB"


def test_what_fits_is_not_refused() -> None:
    need = Need(weights_bytes=GIB, context=1, kv_bytes=1)
    check_fits("x", need, need.total_bytes)
    with pytest.raises(CapacityError):
        check_fits("x", need, need.total_bytes - 1)


@pytest.mark.parametrize("free_gib", [3, 8, 16, 24, 64, 400])
@pytest.mark.parametrize("weights", ["auto", "bf16", "float32"])
def test_the_advice_fits_and_no_larger_kin_does(free_gib: int, weights: str) -> None:
    best = largest_fitting(free_gib * GIB, weights=weights, family="qwen2")
    assert best is not None
    assert need_of_offer(best, weights=weights).total_bytes <= free_gib * GIB
    for offer in offers().values():
        is_kin = (
            offer.name.startswith("qwen2:") and "gptq" not in offer.name and "awq" not in offer.name
        )
        if is_kin and offer.num_parameters > best.num_parameters:
            assert need_of_offer(offer, weights=weights).total_bytes > free_gib * GIB


def test_where_nothing_fits_no_name_is_advised() -> None:
    assert largest_fitting(GIB // 2) is None
    offer = replace(offers()["qwen2:0.5b"])
    with pytest.raises(CapacityError) as caught:
        check_fits(offer.name, need_of_offer(offer), GIB // 2)
    assert caught.value.hint == "no model of the table fits; free some memory"
