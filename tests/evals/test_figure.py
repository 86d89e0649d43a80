import itertools
from collections import Counter
from math import sqrt
from random import Random
from statistics import fmean, stdev, variance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.evals.figure import Figure, macro, majority, mean, of_several, pass_at, standard_error
from tongwen.evals.sample import Grade, Graded, Sample


def graded(*scores: float, group: str = "", parsed: tuple[str | None, ...] | None = None) -> Graded:
    """A sample whose completions were given these scores."""
    said = parsed if parsed is not None else tuple(map(str, scores))
    grades = (
        Grade(score=float(score), parsed=each) for score, each in zip(scores, said, strict=True)
    )
    return Graded(sample=Sample(id="x", row={}, group=group), grades=tuple(grades))


PASSES = st.lists(st.booleans(), min_size=1, max_size=7)


@settings(max_examples=80, deadline=None)
@given(PASSES, st.data())
def test_pass_at_k_is_the_share_of_all_draws_in_which_one_passes(
    passes: list[bool], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(passes)))
    draws = list(itertools.combinations(passes, k))
    sample = graded(*(float(each) for each in passes))
    assert pass_at(k, sample) == pytest.approx(fmean(any(draw) for draw in draws))


def test_only_a_full_score_passes() -> None:
    assert pass_at(1, graded(0.99, 1.0)) == 0.5


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7))
def test_the_vote_of_all_is_that_of_the_first_of_the_most_frequent(
    parsed: list[str | None],
) -> None:
    scores = [float(each == "a") for each in parsed]
    votes = Counter(each for each in parsed if each is not None)
    most = max(votes.values(), default=0)
    winners = [each for each in parsed if each is not None and votes[each] == most]
    expected = float(winners[0] == "a") if winners else 0.0
    assert majority(graded(*scores, parsed=tuple(parsed))) == expected


def test_answers_that_nobody_found_do_not_vote() -> None:
    assert majority(graded(0.0, 0.0, 1.0, parsed=(None, None, "a"))) == 1.0
    assert majority(graded(0.0, 0.0, parsed=(None, None))) == 0.0


def test_the_figure_is_the_mean_of_the_samples_means() -> None:
    found = mean([graded(1.0, 0.0), graded(1.0, 1.0), graded(0.0, 0.0)])
    assert found.score == pytest.approx(0.5)
    assert found.stderr == pytest.approx(stdev([0.5, 1.0, 0.0]) / sqrt(3))
    assert found.groups == {}
    assert found.metrics["pass@1"] == pytest.approx(0.5)
    assert found.metrics["pass@2"] == pytest.approx(2 / 3)


def test_pass_at_one_is_the_mean_and_never_above_pass_at_more() -> None:
    samples = [graded(1.0, 0.0, 0.0, 1.0), graded(0.0, 0.0, 0.0, 0.0), graded(1.0, 1.0, 1.0, 0.0)]
    found = of_several(samples)
    assert found["pass@1"] == pytest.approx(mean(samples).score)
    assert found["pass@1"] <= found["pass@2"] <= found["pass@4"]
    assert "maj@4" in found


def test_one_completion_each_has_no_pass_at_more() -> None:
    assert of_several([graded(1.0), graded(0.0)]) == {}


def test_samples_of_different_counts_are_compared_at_the_fewest() -> None:
    assert set(of_several([graded(1.0, 0.0, 1.0), graded(0.0, 1.0)])) == {
        "pass@1",
        "pass@2",
        "maj@2",
    }


def test_every_group_counts_the_same_in_a_macro_figure() -> None:
    samples = [graded(1.0, group="big") for _ in range(6)]
    samples += [graded(0.0, group="big"), graded(0.0, group="big")]
    samples += [graded(0.0, group="small"), graded(1.0, group="small")]
    found = macro(samples)
    assert found.score == pytest.approx((0.75 + 0.5) / 2)
    assert found.metrics["micro"] == pytest.approx(0.7)
    assert found.groups == {"big": 0.75, "small": 0.5}
    squares = stdev([1] * 6 + [0] * 2) ** 2 / 8 + stdev([0, 1]) ** 2 / 2
    assert found.stderr == pytest.approx(sqrt(squares) / 2)


def test_a_macro_figure_of_one_group_is_the_mean() -> None:
    samples = [graded(1.0, group="only"), graded(0.0, group="only"), graded(1.0, group="only")]
    one, other = macro(samples), mean(samples)
    assert (one.score, one.stderr, one.groups) == (other.score, other.stderr, {})


def test_a_single_sample_has_no_standard_error() -> None:
    assert standard_error([1.0]) is None
    assert mean([graded(1.0)]).stderr is None
    assert macro([graded(1.0, group="a")]).stderr is None


def test_groups_of_a_single_sample_spread_as_all_do_together() -> None:
    found = macro([graded(score, group=str(score)) for score in (0.0, 1.0)])
    assert found.stderr == pytest.approx(sqrt(variance([0.0, 1.0]) / 2))


@pytest.mark.parametrize("limit", [10, 20, 68, 100, 200])
def test_the_error_of_few_samples_of_many_groups_is_what_it_says(limit: int) -> None:
    stream = Random(0)
    population = [str(number % 67) for number in range(67 * 40)]

    def run() -> Figure:
        groups = stream.sample(population, limit)
        return macro([graded(float(stream.random() < 0.5), group=group) for group in groups])

    figures = [run() for _ in range(400)]
    claimed = fmean(figure.stderr for figure in figures if figure.stderr is not None)
    # Of 400 runs the spread itself is known within 4 %.
    spread = stdev(figure.score for figure in figures)
    assert claimed == pytest.approx(spread, rel=0.15)
    assert sum((figure.stderr or 0) < spread / 4 for figure in figures) < 20


def test_one_pair_that_agrees_tells_nothing_of_the_other_groups() -> None:
    scores = {"a": (1.0, 1.0), "b": (0.0,), "c": (1.0,), "d": (0.0,)}
    found = macro([graded(one, group=name) for name, each in scores.items() for one in each])
    assert found.stderr == pytest.approx(sqrt(3 * variance([1.0, 1.0, 0.0, 1.0, 0.0])) / 4)


def test_other_metrics_are_means_over_the_completions_that_have_them() -> None:
    with_metric = Graded(
        sample=Sample(id="a", row={}),
        grades=(
            Grade(score=1.0, metrics={"strict": 1.0}),
            Grade(score=0.0, metrics={"strict": 0.0}),
        ),
    )
    found = mean([with_metric, graded(1.0, 1.0)])
    assert found.metrics["strict"] == 0.5
