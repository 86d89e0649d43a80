"""`tongwen bench` counts what it says it counts."""

from pathlib import Path

import pytest
from tests.invariants.watched import DENSE, save_random

from tongwen.engine.bench import Load, bytes_per_token, measure, measure_serving, operations
from tongwen.engine.llm import LLM
from tongwen.errors import RequestError
from tongwen.kernels.machine import machine
from tongwen.model.account import forward_flops

LOAD = Load(requests=3, prompt_tokens=40, completion_tokens=5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("bench") / "tiny", DENSE)


@pytest.fixture(scope="module")
def llm(tiny: Path) -> LLM:
    return LLM(tiny, weights="int8", context=LOAD.cache_tokens)


def test_serving_counts_the_tokens_of_all_requests(llm: LLM) -> None:
    speed = measure_serving(llm, LOAD, repeats=2)
    assert (speed.work, speed.tokens, speed.repeats) == ("serve", 15, 2)
    assert (speed.requests, speed.prompt_tokens, speed.completion_tokens) == (3, 40, 5)
    assert speed.tokens_per_s > 0
    assert 0 < speed.ttft_p50_ms <= speed.ttft_p99_ms < 1e3 * 15 / speed.tokens_per_s * 10
    assert speed.numerics == llm.plan.numerics


def test_a_load_asks_for_the_whole_blocks_that_its_requests_take(llm: LLM) -> None:
    assert LOAD.cache_tokens == 3 * 64
    assert Load(requests=2, prompt_tokens=60, completion_tokens=4).cache_tokens == 2 * 64
    assert llm.context == LOAD.cache_tokens


def test_a_load_that_does_not_fit_is_refused(llm: LLM) -> None:
    with pytest.raises(RequestError, match="exceed the context of 192"):
        measure_serving(llm, Load(requests=1, prompt_tokens=190, completion_tokens=3), repeats=1)


def test_decoding_has_the_wall_of_reading_its_weights(tiny: Path) -> None:
    llm = LLM(tiny, weights="int8", context=128)
    speed = measure(llm, "decode", repeats=1)
    assert speed.tokens == 64
    assert speed.spread == 0
    assert speed.wall_share == pytest.approx(
        speed.tokens_per_s * bytes_per_token(llm) / (speed.read_gb_per_s * 1e9), abs=1e-3
    )


def test_a_prompts_operations_are_those_of_its_tokens_with_one_row_of_logits(llm: LLM) -> None:
    assert operations(llm, 1) == forward_flops(llm.config, 1)
    logits = 2 * llm.config.vocab_size * llm.config.hidden_size
    every = sum(forward_flops(llm.config, seen) for seen in range(1, 64))
    assert operations(llm, 63) == every - 62 * logits


@pytest.mark.skipif(machine() is None, reason="without native kernels nothing is known of it")
def test_products_from_registers_are_faster_than_any_product_of_matrices() -> None:
    native = machine()
    assert native is not None
    peak = native.peak_int8_ops()
    if native.isa == "portable":
        assert peak is None
    else:
        assert peak is not None
        assert 1e9 * native.threads < peak < 1e13 * native.threads
