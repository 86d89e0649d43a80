"""`tongwen bench` counts what it says it counts."""

from pathlib import Path

import pytest
from tests.invariants.watched import DENSE, save_random

from tongwen.engine.bench import bytes_per_token, measure, measure_serving, operations, serve
from tongwen.engine.llm import LLM
from tongwen.engine.traffic import Goals, Load
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
    assert speed.load == LOAD
    assert speed.tokens_per_s > 0
    waits = speed.latencies
    assert 0 < waits.ttft_p50_ms <= waits.ttft_p99_ms < 1e3 * 15 / speed.tokens_per_s * 10
    assert waits.tpot_p50_ms is not None
    assert waits.tpot_p99_ms is not None
    assert 0 < waits.tpot_p50_ms <= waits.tpot_p99_ms < 1e3
    assert waits.goodput_share is waits.goodput_per_s is None
    assert speed.numerics == llm.plan.numerics


def test_requests_are_served_when_they_arrive_and_not_before(llm: LLM) -> None:
    load = Load(requests=6, prompt_tokens=10, completion_tokens=4, rate=20.0)
    run = serve(llm, load, run=1)
    assert [timing.due_s for timing in run.timings] == load.arrivals_s(1)
    for timing in run.timings:
        assert timing.due_s < timing.first_s <= timing.last_s
        assert timing.tokens == 4
    assert run.elapsed_s > load.arrivals_s(1)[-1]
    assert not llm.engine.has_requests


def test_goals_that_all_or_none_meet(llm: LLM) -> None:
    easy = measure_serving(llm, LOAD, 1, Goals(slo_ttft_ms=1e6, slo_tpot_ms=1e6)).latencies
    hard = measure_serving(llm, LOAD, 1, Goals(slo_ttft_ms=1e-6)).latencies
    assert (easy.goodput_share, hard.goodput_share, hard.goodput_per_s) == (1, 0, 0)
    assert easy.goodput_per_s is not None
    assert easy.goodput_per_s > 0


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
