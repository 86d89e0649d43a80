"""Rows that are shown solved come from where they should, and the harness's draws are its own."""

from pathlib import Path

import pytest
from lm_eval.api.samplers import ContextSampler, FirstNSampler
from tests.evals.tasks.ranking import lay

from tongwen.errors import RequestError
from tongwen.evals.pools import apart, harness_first, harness_shots, same_shots, train_or_apart
from tongwen.judge.benchmarks import Benchmarks

POOL = [{"n": place} for place in range(30)]


@pytest.mark.parametrize("num", [0, 1, 5, 25])
def test_draws_are_those_of_the_harness_where_its_test_split_has_a_name(num: int) -> None:
    rows = [{"q": place} for place in range(9)]
    sampler = ContextSampler(POOL)
    sampler.set_rnd(1234)
    theirs = [tuple(sampler.sample(num)) for _ in rows]
    assert [shots for _, shots in harness_shots(rows, POOL, num, spares=False)] == theirs


@pytest.mark.parametrize("rows", [[{"q": 1}, {"q": 2}] * 4, POOL, [{"n": 7}] * 9])
def test_draws_are_those_of_the_harness_where_it_spares_the_row_that_is_asked(
    rows: list[dict[str, int]],
) -> None:
    sampler = ContextSampler(POOL)
    sampler.set_rnd(1234)
    theirs = [tuple(sampler.sample(5, eval_doc=row)) for row in rows]
    found = harness_shots(rows, POOL, 5, spares=True)
    assert [shots for _, shots in found] == theirs
    assert all(row not in shots for row, shots in found)


def test_a_row_that_the_pool_holds_often_is_never_shown_before_itself() -> None:
    pool = [{"n": 0}] * 20 + POOL[1:4]
    sampler = ContextSampler(pool)
    sampler.set_rnd(1234)
    theirs = [tuple(sampler.sample(3, eval_doc={"n": 0})) for _ in range(6)]
    found = harness_shots([{"n": 0}] * 6, pool, 3, spares=True)
    assert [shots for _, shots in found] == theirs
    assert {row["n"] for _, shots in found for row in shots} == {1, 2, 3}


def test_first_others_are_those_of_the_harness() -> None:
    sampler = FirstNSampler(POOL)
    theirs = [tuple(sampler.sample(4, eval_doc=row)) for row in POOL]
    assert [shots for _, shots in harness_first(POOL, 4)] == theirs


def test_the_same_rows_stand_before_every_question() -> None:
    found = same_shots(POOL[5:], POOL[:5], 3, "a benchmark")
    assert {len(shots) for _, shots in found} == {3}
    assert all(shots == tuple(POOL[:3]) for _, shots in found)


def test_rows_are_set_apart_only_where_no_training_part_is(tmp_path: Path) -> None:
    data = Benchmarks(tmp_path)
    pool, asked = train_or_apart(data, "some/train", POOL)
    assert pool + asked == POOL
    assert len(pool) == 15
    many = [{"n": place} for place in range(500)]
    assert len(train_or_apart(data, "some/train", many)[0]) == 100
    lay(tmp_path, "some/train", POOL[:3])
    assert train_or_apart(data, "some/train", POOL) == (POOL[:3], POOL)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(RequestError, match="30 solved rows"):
        same_shots(POOL, POOL, 31, "a benchmark")
    with pytest.raises(RequestError, match="30 solved rows"):
        harness_shots(POOL, POOL, 30, spares=True)
    with pytest.raises(RequestError, match="none is left"):
        apart(POOL, 30)
