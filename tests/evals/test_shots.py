"""Solved rows that stand before a question."""

import pytest

from tongwen.errors import RequestError
from tongwen.evals.shots import first, harness_draws, set_apart, turns

ROWS = [{"n": n, "kind": "ab"[n % 2]} for n in range(20)]


def by_kind(row):
    return row["kind"]


def test_more_than_there_are_is_refused_with_how_many_there_are():
    assert first(ROWS, 2, "it") == tuple(ROWS[:2])
    with pytest.raises(RequestError, match="`it` has 20 solved rows to show, not 21"):
        first(ROWS, 21, "it")


def test_each_sample_has_its_draw_whatever_comes_after_it():
    long, short = harness_draws(ROWS, 5, 9), harness_draws(ROWS, 5, 3)
    assert long[:3] == short
    assert len({tuple(row["n"] for row in shots) for shots in long}) == 9


def test_rows_set_apart_are_of_their_group_and_each_group_has_its_number():
    shown, apart = set_apart(ROWS, 3, by_kind)
    assert {name: len(rows) for name, rows in shown.items()} == {"a": 3, "b": 3}
    assert all(row["kind"] == name for name, rows in shown.items() for row in rows)
    assert {ROWS[place]["n"] for place in apart} == {
        row["n"] for rows in shown.values() for row in rows
    }


def test_a_larger_number_of_rows_set_apart_holds_the_smaller():
    assert set_apart(ROWS, 3, by_kind)[1] < set_apart(ROWS, 5, by_kind)[1]
    assert set_apart(ROWS, 3, by_kind, seed=1)[1] != set_apart(ROWS, 3, by_kind)[1]


def test_a_group_is_not_set_apart_to_its_last_row():
    with pytest.raises(RequestError, match="`a` has 10 rows: 10 cannot be set apart"):
        set_apart(ROWS, 10, by_kind)


def test_turns_alternate_and_end_with_the_question():
    said = turns([("1?", "1")], "2?", "Count.")
    assert [turn["role"] for turn in said] == ["system", "user", "assistant", "user"]
    assert said[-1]["content"] == "2?"
