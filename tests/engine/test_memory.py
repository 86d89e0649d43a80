"""Whether a model and its cache fit, said in numbers before anything is loaded."""

from dataclasses import replace

import pytest
import torch

from tongwen.engine.memory import check_weights, fit_context, free_bytes, longest_context
from tongwen.errors import CapacityError, ConfigError
from tongwen.model.config import Yarn
from tongwen.model.presets import preset

GIB = 1 << 30
SMALL = preset("0.5b")  # 12 KiB a token: 32,768 tokens are 384 MiB
YARN = Yarn(factor=4.0, original_max_position_embeddings=32_768)


def fitted(asked: int | None, free: int) -> int:
    return fit_context(SMALL, asked, weights_bytes=GIB, bytes_per_value=2, free=free)


def test_free_memory_is_some_of_what_the_machine_has() -> None:
    assert 0 < free_bytes(torch.device("cpu")) < 1 << 50


def test_weights_that_do_not_fit_are_refused_with_both_numbers() -> None:
    with pytest.raises(CapacityError, match=r"`qwen2:72b` needs 135\.\d GiB.* 20\.0 GiB are free"):
        check_weights("qwen2:72b", 2 * 72_706_203_648, 20 * GIB)
    check_weights("qwen2:0.5b", GIB, 20 * GIB)


def test_without_a_wish_the_context_is_what_was_trained_for() -> None:
    assert fitted(None, 20 * GIB) == 32_768


def test_a_base_models_131072_positions_are_not_taken_unasked() -> None:
    base = preset("0.5b", instruct=False)
    context = fit_context(base, None, weights_bytes=GIB, bytes_per_value=2, free=20 * GIB)
    assert context == 32_768


@pytest.mark.parametrize(("room_mib", "context"), [(384, 32_768), (383, 16_384), (48, 4096)])
def test_where_memory_is_short_the_context_is_halved(room_mib: int, context: int) -> None:
    working = 400 << 20
    assert fitted(None, GIB + working + (room_mib << 20)) == context


def test_a_short_models_context_is_not_halved_below_the_least() -> None:
    config = replace(SMALL, max_position_embeddings=6000)
    free = GIB + (400 << 20) + (50 << 20)
    assert fit_context(config, None, weights_bytes=GIB, bytes_per_value=2, free=free) == 4096


def test_a_cache_that_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(CapacityError, match=r"4096 tokens.* 0\.0 GiB are free") as refused:
        fitted(None, GIB + (400 << 20) + (12 << 20))
    assert refused.value.hint == "at most 1024 tokens fit"
    with pytest.raises(CapacityError, match="32000 tokens"):
        fitted(32_000, GIB + (400 << 20) + (12 << 20))


@pytest.mark.parametrize("asked", [0, -5, 32_769, 1_000_000])
def test_a_context_that_the_model_cannot_have_is_refused(asked: int) -> None:
    with pytest.raises(
        ConfigError, match=f"{asked} tokens is not between 1 and this model's 32768"
    ):
        fitted(asked, 100 * GIB)


def test_yarn_lengthens_the_longest_context() -> None:
    assert longest_context(SMALL) == 32_768
    assert longest_context(replace(SMALL, rope_scaling=YARN)) == 131_072
    base = preset("0.5b", instruct=False)
    assert longest_context(replace(base, rope_scaling=YARN)) == 131_072
