"""Arrivals, and the figures of how long requests waited."""

import itertools
import statistics

import pytest

from tongwen.engine.traffic import Goals, Load, Run, Timing, latencies, percentile
from tongwen.errors import ConfigError


def test_without_a_rate_all_arrive_at_once() -> None:
    assert Load(requests=3).arrivals_s(1) == [0, 0, 0]


def test_arrivals_are_those_of_a_poisson_process() -> None:
    found = Load(requests=20_001, rate=50.0).arrivals_s(1)
    gaps = [later - sooner for sooner, later in itertools.pairwise(found)]
    # Of an exponential distribution mean and deviation are alike; 20,000 draws are off by 0.7 %.
    assert found[0] == 0
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05)


def test_arrivals_depend_on_seed_and_run_alone() -> None:
    load = Load(rate=3.0, seed=4)
    assert load.arrivals_s(1) == Load(rate=3.0, seed=4).arrivals_s(1)
    assert load.arrivals_s(1) != load.arrivals_s(2)
    assert load.arrivals_s(1) != Load(rate=3.0, seed=5).arrivals_s(1)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="`rate` must be above 0"):
        Load(rate=rate)


def test_no_two_prompts_of_a_load_begin_alike() -> None:
    load = Load(requests=4, prompt_tokens=9)
    prompts = [prompt for run in (0, 1) for prompt in load.prompts(run, 151_000)]
    assert {len(prompt) for prompt in prompts} == {9}
    assert len({prompt[0] for prompt in prompts}) == 8
    assert max(map(max, load.prompts(0, 300))) < 300


def test_times_count_from_when_a_request_is_due() -> None:
    timing = Timing(due_s=1.0, first_s=1.5, last_s=2.5, tokens=6)
    assert timing.ttft_s == 0.5
    assert timing.tpot_s == pytest.approx(0.2)
    assert Timing(0.0, 1.0, 1.0, 1).tpot_s is None


def test_goodput_counts_who_met_both_goals_and_failures_as_missed() -> None:
    timings = [
        Timing(0.0, 0.1, 1.1, 11),  # 100 ms, 100 ms a token
        Timing(0.0, 0.3, 1.3, 11),  # too late
        Timing(0.0, 0.1, 2.1, 11),  # too slow
    ]
    runs = [Run(timings, ["refused"])]
    found = latencies(runs, Goals(slo_ttft_ms=200.0, slo_tpot_ms=150.0))
    assert found.goodput_share == 0.25
    assert found.goodput_per_s == pytest.approx(1 / 2.1, abs=1e-3)
    assert found.failed == 1
    assert (found.ttft_p50_ms, found.tpot_p50_ms) == (100, 100)
    assert latencies(runs, Goals(slo_ttft_ms=200.0)).goodput_share == 0.5
    assert latencies(runs, Goals()).goodput_share is None


def test_output_tokens_a_second_count_until_the_last_token() -> None:
    run = Run([Timing(0.0, 0.5, 1.0, 10), Timing(1.0, 1.5, 4.0, 30)])
    assert run.elapsed_s == 4
    assert run.tokens_per_s == 10


def test_percentiles_lie_between_the_nearest_values() -> None:
    assert percentile([5.0], 99) == 5
    assert percentile([float(n) for n in range(101)], 99) == 99
