"""The letter that a completion picked."""

import pytest

from tongwen.judge.choices import alone, by_text, chinese, first_capital, mmlu_pro, picked


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Thus the answer is (C).", "C"),
        ("The answer is J. The answer is A.", "J"),
        ("Reasoning.\nAnswer: D", "D"),
        ("answer: B or Answer: C", "C"),
        ("It can be A, but rather H", "H"),
        ("The answer is K", None),
        ("none", None),
    ],
)
def test_mmlu_pro_has_three_rules(text: str, letter: str | None) -> None:
    assert mmlu_pro(text) == letter


def test_opencompass_takes_the_first_capital_letter() -> None:
    assert first_capital("c) B is right") == "B"
    assert first_capital("The answer is B") == "T"
    assert first_capital("") is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("答案是B。", "B"),
        ("答案：C", "C"),
        ("正确答案为（D）", "D"),
        ("正确答案是：**A**", "A"),
        ("分析A、B两项……故选C。", "C"),
        ("所以选择 B 项", "B"),
        ("应选Ｄ", "D"),
        ("A选项正确", "A"),
        ("选项B正确，选项A错误", "B"),
        ("选项A不正确，选项C是正确的", "C"),
        ("正确选项是D", "D"),
        ("先看A，答案是A？不，答案是B", "B"),
        ("B", "B"),
        ("B. 长江", "B"),
        ("答案是 $\\boxed{C}$", "C"),
        ("答案是$\\text{A}$", "A"),
        ("不知道", None),
        ("答案是DNA", None),
        ("", None),
    ],
)
def test_chinese_answers_are_understood(text: str, letter: str | None) -> None:
    assert chinese(text) == letter


def test_a_letter_alone_is_not_part_of_a_word() -> None:
    assert alone("Apple (B) C") == "B"
    assert alone("A's", "AB") is None
    assert alone("选B项") == "B"


def test_the_last_letter_alone_is_picked() -> None:
    assert picked("a or (b)") == "B"
    assert picked("cab") is None


def test_a_choice_may_be_named_by_its_words() -> None:
    choices = ["valid", "invalid", "not valid"]
    assert by_text("It is invalid.", choices) == 1
    assert by_text("It is not valid", choices) == 2
    assert by_text("valid or invalid", choices) is None
    assert by_text("nothing", ["", "x"]) is None
