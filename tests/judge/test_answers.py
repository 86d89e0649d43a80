"""Short answers: numbers of all kinds, and the filters of other harnesses."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.judge.answers import (
    after_answer_is,
    bbh_equal,
    gsm8k_gold,
    harness_equal,
    harness_flexible,
    harness_strict,
    last_number,
    number,
    opencompass_gsm8k,
    plain_digits,
    same_number,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", "18"),
        ("-18.50", "-18.5"),
        ("$1,234.00", "1234"),
        ("-$5", "-5"),
        ("1,00,000", "100000"),
        ("50%", "50"),
        (r"50\%", "50"),
        ("12 km", "12"),
        ("3.5 hours.", "3.5"),
        ("¥30元", "30"),
        ("１２", "12"),
        ("১১", "11"),
        ("٣٫٥", "3.5"),
        ("−7", "-7"),
        (".5", "0.5"),
    ],
)
def test_a_number_is_read_through_its_dress(text: str, value: str) -> None:
    assert number(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "x", "1/2", "12 of 13", "3x4", "--5", "9" * 500, "1 2", "٣x٣"]
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 + 6 = 11. The answer is 11.", "11"),
        ("答案是11。", "11"),
        ("উত্তর হল ১১।", "11"),
        ("from 10-15", "15"),
        ("it is -15", "-15"),
        ("so -$2,125.50!", "-2125.50"),
        ("1,2,3", "3"),
        ("12,3456", "3456"),
        ("$.50", "0.50"),
        ("x=5, y=6,", "6"),
    ],
)
def test_the_last_number_is_found(text: str, value: str) -> None:
    assert last_number(text) == Decimal(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Die Antwort lautet 114.200.", "114200"),
        ("La réponse est 2 125,50 €.", "2125.50"),
        ("Ответ — 1\u00a0234.", "1234"),
        ("Das sind 2.5 kg", "2.5"),
        ("1.234.567,8", "1234567.8"),
    ],
)
def test_a_comma_may_mark_decimals(text: str, value: str) -> None:
    assert last_number(text, decimal_comma=True) == Decimal(value)


def test_no_number_is_equal_to_nothing() -> None:
    assert last_number("none at all") is None
    assert not same_number(None, None)
    assert not same_number(None, Decimal(1))
    assert same_number(Decimal("18.0"), Decimal(18))
    assert not same_number(Decimal("18.01"), Decimal(18))


@given(st.integers(-(10**12), 10**12))
def test_a_grouped_number_is_the_same_number(value: int) -> None:
    assert number(f"{value:,}") == value
    assert last_number(f"First 7, then {value:,} apples.") == value
    grouped = f"{value:,}".replace(",", ".")
    assert last_number(f"Also {grouped} Stück.", decimal_comma=True) == value


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    last_number(text)
    number(text)
    assert len(plain_digits(text)) == len(text)


def test_gold_answers_of_gsm8k_are_the_last_numbers_of_their_solutions(shared: Path) -> None:
    lines = (shared / "data/gsm8k/test_rows_0-699.jsonl").read_text("utf-8").splitlines()
    for line in lines:
        answer = json.loads(line)["answer"]
        gold = gsm8k_gold(answer)
        assert same_number(gold, last_number(answer))
        assert harness_equal(harness_strict(answer), answer)
        assert harness_equal(harness_flexible(answer), answer)
        assert gold is not None
        assert not same_number(gold, gold + 1)


COMPLETIONS = [
    "It is #### 1,234.",
    "#### 5\n#### 6",
    "The answer is $12.50.",
    "no number",
    "maybe $ or , or 3",
    "-5 and 7",
    "The answer is 7.",
    "... , $",
    "#### -3.0",
]


@pytest.mark.parametrize("text", COMPLETIONS)
def test_filters_are_those_of_the_harness(text: str) -> None:
    extraction = pytest.importorskip(
        "lm_eval.filters.extraction", reason="lm-evaluation-harness is not installed"
    )
    strict = extraction.RegexFilter(r"#### (\-?[0-9\.\,]+)")
    flexible = extraction.RegexFilter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1)
    assert [[harness_strict(text)]] == list(strict.apply([[text]], [{}]))
    assert [[harness_flexible(text)]] == list(flexible.apply([[text]], [{}]))


def test_the_harness_forgives_commas_dollars_and_a_full_stop() -> None:
    assert harness_equal("1,234.", "so\n#### 1234")
    assert harness_equal("$5", "#### 5")
    assert not harness_equal("5.0", "#### 5")
    assert not harness_equal("[invalid]", "#### 5")


def test_opencompass_takes_the_digits_of_the_last_word_that_has_some() -> None:
    assert opencompass_gsm8k("It is 5 or $1,200.\n\nNext 7") == "1200"
    assert opencompass_gsm8k("none") == "NULL"


@pytest.mark.parametrize(
    ("completion", "target", "right"),
    [
        ("Thus. So the answer is (B).", "(B)", True),
        ("So the answer is B.", "(B)", True),
        ("So the answer is (C).", "(B)", False),
        ("So the answer is valid.\n\nQ: next. So the answer is invalid.", "valid", True),
        ("So the answer is ] } >.", "] } >", True),
        ("So the answer is False.", "True", False),
        ("Yes", "Yes", True),
        ("So the answer is yes.", "Yes", False),
        ("", "Yes", False),
    ],
)
def test_bbh_compares_what_the_answer_is(completion: str, target: str, right: bool) -> None:
    assert bbh_equal(after_answer_is(completion), target) is right


def test_every_target_of_bbh_is_right_when_said_as_the_examples_say_it(shared: Path) -> None:
    import gzip

    with gzip.open(shared / "data/bbh/test.jsonl.gz", "rt", encoding="utf-8") as lines:
        targets = {json.loads(line)["target"] for line in lines}
    for target in targets:
        assert bbh_equal(after_answer_is(f"Think. So the answer is {target}."), target), target
        assert not bbh_equal(after_answer_is(f"So the answer is not {target}."), target)
