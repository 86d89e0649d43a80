import itertools
import random
from math import comb, isclose, sqrt
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.errors import RequestError
from tongwen.evals.stats import paired, sign_test, wilson

SCORES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=2,
    max_size=40,
)


def test_a_paired_difference_equals_the_textbook() -> None:
    before = [1.0, 0.0, 1.0, 1.0, 0.0]
    after = [1.0, 1.0, 1.0, 0.5, 0.0]
    found = paired(before, after)
    changes = [b - a for a, b in zip(before, after, strict=True)]
    assert found.difference == pytest.approx(0.1)
    assert found.means == pytest.approx((0.6, 0.7))
    assert found.stderr == pytest.approx(stdev(changes) / sqrt(5))
    assert found.normal is not None
    assert found.normal.low == pytest.approx(0.1 - 1.959963984540054 * stdev(changes) / sqrt(5))
    assert (found.num_samples, found.num_groups, found.clustered_stderr) == (5, 1, None)


def test_the_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is nobody's dependency here")
    generator = random.Random(3)
    before = [generator.random() for _ in range(200)]
    after = [score + generator.gauss(0.02, 0.1) for score in before]
    found = paired(before, after, seed=1)
    changes = np.subtract(after, before)
    assert found.stderr == pytest.approx(stats.sem(changes))
    low, high = stats.norm.interval(0.95, loc=changes.mean(), scale=stats.sem(changes))
    assert found.normal is not None
    assert (found.normal.low, found.normal.high) == pytest.approx((low, high))
    theirs = stats.bootstrap(
        (changes,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.bootstrap.low == pytest.approx(theirs.low, abs=0.1 * found.stderr)
    assert found.bootstrap.high == pytest.approx(theirs.high, abs=0.1 * found.stderr)


def test_pairs_tell_more_than_two_runs_apart() -> None:
    generator = random.Random(1)
    before = [float(generator.random() < 0.5) for _ in range(400)]
    after = [score if generator.random() < 0.95 else 1 - score for score in before]
    found = paired(before, after)
    apart = sqrt((stdev(before) ** 2 + stdev(after) ** 2) / 400)
    assert found.stderr is not None
    assert found.stderr < apart / 2


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held, normal = 0, 0
    for trial in range(300):
        before = (generator.random(120) < 0.5).astype(float)
        after = (generator.random(120) < 0.6).astype(float)
        found = paired(before.tolist(), after.tolist(), seed=trial, resamples=400)
        held += 0.1 in found.bootstrap
        assert found.normal is not None
        normal += 0.1 in found.normal
    # 285 of 300 are expected; four standard deviations of a share of 95 % are 15.
    assert 268 <= held <= 297
    assert 268 <= normal <= 297


def test_every_group_counts_the_same_where_groups_are_given() -> None:
    groups = ["a"] * 8 + ["b"] * 2
    before = [0.0] * 10
    after = [0.0] * 6 + [1.0] * 2 + [1.0, 0.0]
    found = paired(before, after, groups)
    assert found.difference == pytest.approx((0.25 + 0.5) / 2)
    errors = [stdev([0] * 6 + [1] * 2) ** 2 / 8, stdev([1, 0]) ** 2 / 2]
    assert found.stderr == pytest.approx(sqrt(sum(errors)) / 2)
    assert found.clustered_stderr == pytest.approx(stdev([0.25, 0.5]) / sqrt(2))
    assert found.num_groups == 2


def test_groups_of_one_sample_each_spread_as_all_do_together() -> None:
    found = paired([0.0, 0.0, 1.0], [1.0, 0.0, 1.0], ["a", "b", "c"])
    assert found.stderr == found.clustered_stderr == pytest.approx(1 / 3)
    assert found.bootstrap.low < 0.1
    assert found.bootstrap.high > 0.6


def test_one_pair_that_agrees_leaves_an_interval() -> None:
    found = paired([0.0] * 5, [1.0, 1.0, 0.0, 1.0, 0.0], list("aabcd"))
    assert found.stderr == pytest.approx(sqrt(3 * 0.3) / 4)
    assert found.bootstrap.low < 0.2
    assert found.bootstrap.high > 0.8


def test_intervals_of_small_groups_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    held, normal = 0, 0
    for trial in range(300):
        groups = generator.integers(0, 60, 110)
        before, after = ((generator.random(110) < share).astype(float) for share in (0.4, 0.6))
        names = [str(group) for group in groups]
        found = paired(before.tolist(), after.tolist(), names, seed=trial, resamples=400)
        held += 0.2 in found.bootstrap
        assert found.normal is not None
        normal += 0.2 in found.normal
    assert 268 <= held <= 297
    assert 268 <= normal <= 297


def test_a_single_sample_has_no_error() -> None:
    found = paired([0.0], [1.0])
    assert (found.difference, found.stderr, found.normal) == (1.0, None, None)
    assert (found.bootstrap.low, found.bootstrap.high) == (1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_turned_round_the_difference_has_the_other_sign(pairs: list[tuple[float, float]]) -> None:
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    there, back = (paired(*each, resamples=50) for each in ((before, after), (after, before)))
    assert there.difference == pytest.approx(-back.difference)
    assert there.stderr == pytest.approx(back.stderr)
    assert there.means == back.means[::-1]


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_a_run_does_not_differ_from_itself(pairs: list[tuple[float, float]]) -> None:
    scores = [pair[0] for pair in pairs]
    found = paired(scores, scores, resamples=50)
    assert (found.difference, found.stderr) == (0.0, 0.0)
    assert (found.bootstrap.low, found.bootstrap.high) == (0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_one_group_for_all_is_no_group(pairs: list[tuple[float, float]]) -> None:
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    assert paired(before, after, ["x"] * len(pairs), resamples=50) == paired(
        before, after, resamples=50
    )


def test_the_same_seed_draws_the_same_bootstrap() -> None:
    before, after = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    one, again, other = (paired(before, after, seed=seed, resamples=300) for seed in (4, 4, 5))
    assert one == again
    scores = [i / 97 for i in range(40)]
    others = [paired([0.0] * 40, scores, seed=seed, resamples=300).bootstrap for seed in (4, 5)]
    assert others[0] != others[1]
    assert other.difference == one.difference


def test_fourteen_thousand_samples_are_compared_at_once() -> None:
    generator = np.random.default_rng(0)
    before, after = generator.random((2, 14_000)).tolist()
    found = paired(before, after, resamples=500)
    assert 0.0 in found.bootstrap


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(RequestError, match="between 0 and 1"):
        paired([0.0, 1.0], [1.0, 1.0], confidence=confidence)


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(RequestError, match="without a sample in common"):
        paired([], [])


@pytest.mark.parametrize("better", range(9))
@pytest.mark.parametrize("worse", range(9))
def test_the_sign_test_counts_every_way_to_toss_coins(better: int, worse: int) -> None:
    total, gap = better + worse, abs(better - worse)
    tosses = itertools.product((-1, 1), repeat=min(total, 12))
    if total <= 12:
        as_far = sum(abs(sum(toss)) >= gap for toss in tosses)
        assert isclose(sign_test(better, worse), as_far / 2**total)
    assert sign_test(better, worse) == sign_test(worse, better)


@given(st.integers(0, 3_000), st.integers(0, 3_000))
@settings(max_examples=30, deadline=None)
def test_the_sign_test_is_that_of_scipy(better: int, worse: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is nobody's dependency here")
    theirs = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_test(better, worse) == pytest.approx(
        theirs, rel=1e-9, abs=1e-280
    )  # below, scipy says 0


def test_a_share_of_few_has_the_wide_interval_of_wilson() -> None:
    # Newcombe, 1998, table I, method 3: 15 of 148, and 0 of 20.
    found = wilson(15, 148)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0624, 0.1605)
    found = wilson(0, 20)
    assert (found.low, round(found.high, 4)) == (0.0, 0.1611)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=60, deadline=None)
def test_the_interval_of_a_share_holds_it_and_is_that_of_scipy(share: tuple[int, int]) -> None:
    hits, total = share
    found = wilson(hits, total)
    assert 0 <= found.low <= hits / total <= found.high <= 1
    mirrored = wilson(total - hits, total)
    assert mirrored.low == pytest.approx(1 - found.high)
    stats = pytest.importorskip("scipy.stats", reason="scipy is nobody's dependency here")
    theirs = stats.binomtest(hits, total).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "total"), [(1, 0), (3, 2), (-1, 5)])
def test_a_share_of_nothing_is_refused(hits: int, total: int) -> None:
    with pytest.raises(RequestError, match="is no share"):
        wilson(hits, total)


def test_the_interval_of_wilson_holds_the_truth_as_often_as_it_says() -> None:
    chances = [comb(30, k) * 0.2**k * 0.8 ** (30 - k) for k in range(31)]
    held = sum(c for k, c in enumerate(chances) if 0.2 in wilson(k, 30))
    assert 0.93 < held < 0.98
