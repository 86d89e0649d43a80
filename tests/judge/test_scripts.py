"""Which language, and how much of it."""

import gzip
import json
from pathlib import Path

import pytest

from tongwen.errors import ConfigError
from tongwen.judge.scripts import LANGUAGES, Languages, prose, scripts_of

pytest.importorskip("lingua", reason="telling languages of one script needs `lingua`")


@pytest.fixture(scope="module")
def languages() -> Languages:
    return Languages()


@pytest.fixture(scope="module")
def declarations(shared: Path) -> dict[str, str]:
    """The Universal Declaration of Human Rights in each language that it is there in."""
    path = shared / "data/corpus/udhr_multilingual.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["lang"]: row["text"] for row in rows if row["lang"] in LANGUAGES}


def test_there_are_the_languages_of_the_cards() -> None:
    cards = (
        "en zh es fr pt de it nl ru cs pl ar fa he tr ja ko vi th id ms lo my ceb km tl hi bn ur"
    )
    assert set(LANGUAGES) == set(cards.split())


def test_a_declaration_is_in_its_language(
    languages: Languages, declarations: dict[str, str]
) -> None:
    assert len(declarations) >= 28
    for code, text in declarations.items():
        assert languages.language_of(text) == code
        assert languages.share_in(text, code) >= 0.95, (code, languages.share_in(text, code))


def test_a_declaration_is_in_no_other_language(
    languages: Languages, declarations: dict[str, str]
) -> None:
    for code, text in declarations.items():
        for other in LANGUAGES:
            if other != code:
                assert languages.share_in(text[:4000], other) <= 0.1, (code, other)


def test_an_answer_that_changes_its_language_is_found(
    languages: Languages, declarations: dict[str, str]
) -> None:
    for code, text in declarations.items():
        guest = declarations["fr" if code == "en" else "en"]
        half = len(text) // 2
        share = languages.share_in(text[:half] + "\n" + guest[:half], code)
        assert 0.15 < share < 0.9, (code, share)


def test_a_guest_sentence_within_a_line_is_found(languages: Languages) -> None:
    german = "Der Hund schläft seit heute Morgen unter dem großen Tisch in der Küche. "
    english = "The dog has been sleeping under the large kitchen table since this morning. "
    assert languages.share_in(german * 2, "de") == 1.0
    assert 0.55 < languages.share_in(german * 2 + english, "de") < 0.75


def test_questions_of_benchmarks_pass_as_their_own_language(
    languages: Languages, shared: Path
) -> None:
    with gzip.open(shared / "data/mgsm/test.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for code in ("en", "es", "fr", "de", "ru", "zh", "ja", "th", "bn"):
        texts = [row["question"] for row in rows if row["lang"] == code]
        passed = sum(languages.share_in(text, code) >= 0.95 for text in texts)
        assert passed >= 0.95 * len(texts), (code, passed)


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("你好，world", "zh", 2 / 7),
        ("你好，世界。", "zh", 1.0),
        ("こんにちは、世界。", "ja", 1.0),
        ("こんにちは、世界。", "zh", 0.0),
        ("東京\nこんにちは", "ja", 1.0),
        ("今天天气很好", "ja", 0.0),
        ("สวัสดีครับ", "th", 1.0),
        ("Привет, друг", "ru", 1.0),
        ("Привет, друг", "en", 0.0),
        ("Yes!", "de", 1.0),
        ("42", "th", 1.0),
        ("", "th", 1.0),
        ("这样：\n```python\nprint('hello world')\n```\n好", "zh", 1.0),
        ("用 `numpy.array` 即可", "zh", 1.0),
        ("好\n```\nnever closed", "zh", 1.0),
    ],
)
def test_shares_are_of_letters_outside_code(
    languages: Languages, text: str, language: str, share: float
) -> None:
    assert languages.share_in(text, language) == pytest.approx(share)


def test_a_long_line_of_han_is_chinese_among_japanese(languages: Languages) -> None:
    chinese = "中华人民共和国的首都是北京市位于华北平原的北部毗邻渤海湾上靠辽东半岛"
    assert languages.share_in(f"これは日本語です。\n{chinese}", "ja") < 0.5
    assert languages.share_in(f"これは日本語です。\n{chinese}", "zh") > 0.5


def test_what_is_unknown_is_said(languages: Languages) -> None:
    with pytest.raises(ConfigError, match="language `xx`"):
        languages.share_in("a", "xx")
    assert languages.language_of("123 …") is None
    assert languages.language_of("Ελληνικά") is None


def test_code_is_cut_out() -> None:
    assert prose("a ```b``` c `d` e").split() == ["a", "c", "e"]
    assert scripts_of("aбв1_ 好") == {"LATIN": 1, "CYRILLIC": 2, "CJK": 1}
