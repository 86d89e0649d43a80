"""Two series about the same samples."""

import itertools
import random

import pytest

from tongwen.errors import RequestError
from tongwen.evals.paired import agreement, mcnemar, mcnemar_by_id


def test_the_p_value_is_the_share_of_coin_tosses_as_uneven() -> None:
    a = [True] * 7 + [False] * 2 + [True] * 5
    b = [False] * 7 + [True] * 2 + [True] * 5
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b, found.num_samples) == (7, 2, 14)
    tosses = [sum(coins) for coins in itertools.product((0, 1), repeat=9)]
    assert found.p == sum(heads <= 2 or heads >= 7 for heads in tosses) / len(tosses)


def test_the_p_value_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="the oracle is scipy")
    rng = random.Random(3)
    for _ in range(40):
        n = rng.randrange(1, 400)
        a = [rng.random() < 0.6 for _ in range(n)]
        b = [rng.random() < 0.5 for _ in range(n)]
        found = mcnemar(a, b)
        differing = found.only_a + found.only_b
        want = stats.binomtest(found.only_a, differing).pvalue if differing else 1.0
        assert found.p == pytest.approx(want, rel=1e-9)


def test_models_that_never_differ_are_no_surprise() -> None:
    assert mcnemar([True, False], [True, False]).p == 1.0


def test_ten_thousand_differences_neither_overflow_nor_vanish() -> None:
    found = mcnemar([True] * 5_200 + [False] * 4_800, [False] * 5_200 + [True] * 4_800)
    assert 5e-5 < found.p < 8e-5


def test_samples_are_told_by_their_ids() -> None:
    found = mcnemar_by_id({"x": True, "y": False, "only a": True}, {"y": True, "x": False})
    assert (found.only_a, found.only_b, found.num_samples) == (1, 1, 2)
    with pytest.raises(RequestError, match="in common"):
        mcnemar_by_id({"x": True}, {"y": True})


def test_series_of_different_lengths_are_refused() -> None:
    with pytest.raises(RequestError, match="cannot be paired"):
        mcnemar([True], [True, False])
    with pytest.raises(RequestError, match="cannot be paired"):
        agreement([], [])


def test_kappa_is_what_is_left_of_agreement_without_chance() -> None:
    a = [True] * 20 + [True] * 5 + [False] * 10 + [False] * 15
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement(a, b)
    assert found.rate == 0.7
    assert found.kappa == pytest.approx(0.4)  # the example of Cohen's kappa with 50 grants


def test_kappa_is_one_zero_or_unknown() -> None:
    assert agreement([True, False], [True, False]).kappa == 1.0
    assert agreement([True, True, False, False], [True, False, True, False]).kappa == 0.0
    assert agreement([True, True], [True, True]).kappa is None
