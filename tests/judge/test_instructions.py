"""Each kind of instruction by hand, and every verdict against lm-evaluation-harness' own."""

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongwen.errors import ConfigError
from tongwen.judge.instructions.follow import Instructions, rates, variants
from tongwen.judge.instructions.rules import RULES
from tongwen.judge.instructions.text import Texts

nltk = pytest.importorskip("nltk", reason="IFEval's word counting needs `nltk`")
pytest.importorskip("langdetect", reason="IFEval's language checks need `langdetect`")


@pytest.fixture(scope="module")
def judge() -> Instructions:
    return Instructions()


CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("keywords:existence", {"keywords": ["sea", "Sky"]}, ["The sky, the SEASIDE"], ["sea"]),
    (
        "keywords:frequency",
        {"keyword": "war", "relation": "at least", "frequency": 2},
        ["War and wars", "war warfare war"],
        ["a war"],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "relation": "less than", "frequency": 2},
        ["one war", "peace"],
        ["war, WAR"],
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, ["rocks", "hard"], ["A Rock."]),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_relation": "at least", "let_frequency": 2},
        ["# a ## b"],
        ["# one"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "Q", "let_relation": "less than", "let_frequency": 2},
        ["Quiet"],
        ["Quiet, quiet"],
    ),
    (
        "language:response_language",
        {"language": "de"},
        ["Der Hund schläft unter dem Tisch und träumt von einem großen Knochen.", "123"],
        ["The dog sleeps under the table and dreams of a large bone."],
    ),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 3},
        ["Dr. Li left. She was late!", "One"],
        ["One. Two. Three.", "Why? Because! So."],
    ),
    (
        "length_constraints:number_words",
        {"relation": "at least", "num_words": 4},
        ["one two three four", "don't do it"],
        ["one two three"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["a\n***\nb", "***\na***b\n***"],
        ["a", "a***b***c", "a*** ***b"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "President"},
        ['One.\n\n"president\'s men"', "One.\n\nPresident, yes"],
        ["President\n\nOne", "One.\n\nPresident\n\nmore", "One", "One\n\n\n\npresident"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a] [b c]"], ["[a]"]),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["end\nP.P.S. more", "p. p. s"],
        ["P.S. more"],
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["p. s. x"], ["PS x"]),
    ("detectable_content:postscript", {"postscript_marker": "N.B."}, ["x n.b. y"], ["nzbz"]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "- a\n  * b"],
        ["* a", "** a\n* b", "* a\n* b\n- c"],
    ),
    ("detectable_format:constrained_response", {}, ["Well. My answer is no."], ["no"]),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* **b**"],
        ["*a* * *", "*a\n*"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1 a\nSECTION2 b"],
        ["Section 1 Section 2", "SECTION one SECTION 2"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": 1}', "```json\n[1]\n```", "```\n3```"],
        ["{a: 1}", "[" * 100_000],
    ),
    ("detectable_format:title", {}, ["<<a b>>"], ["<< >>", "<<a\nb>>"]),
    (
        "combination:two_responses",
        {},
        ["a******b"],
        ["a******a", "a", "a******b******c", "******a"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Say it. "},
        ["say it. Yes"],
        ["I say it."],
    ),
    ("startend:end_checker", {"end_phrase": "Bye."}, ['... bye."', "Bye."], ["Bye. Now"]),
    ("startend:quotation", {}, ['"a"', ' "" '], ['"', 'a"', "'a'"]),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 3},
        ["NASA and U.S. and A", "IT'S A"],
        ["NASA and USA and Me"],
    ),
    (
        "change_case:english_capital",
        {},
        ["THE DOG SLEEPS UNDER THE TABLE."],
        ["THE DOG SLEEPs", "СОБАКА СПИТ ПОД СТОЛОМ."],
    ),
    ("change_case:english_lowercase", {}, ["the dog sleeps under the table."], ["The dog sleeps"]),
    ("punctuation:no_comma", {}, ["a b"], ["a, b"]),
]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES)
def test_a_rule_tells_following_from_not_following(
    judge: Instructions, name: str, arguments: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    row = {"instruction_id_list": [name], "kwargs": [arguments]}
    for text in good:
        assert judge.follows(row, text) == [True], text
    for text in bad:
        assert judge.follows(row, text) == [False], text


def test_every_kind_has_a_case() -> None:
    assert {name for name, *_ in CASES} == set(RULES)
    assert len(RULES) == 25


def test_a_blank_completion_follows_nothing(judge: Instructions) -> None:
    row = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    assert judge.follows(row, " \n") == [False]
    assert judge.follows(row, "", loose=True) == [False]


def test_the_loose_judgement_forgives_an_introduction(judge: Instructions) -> None:
    row = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    said = 'Here it is:\n*"Good."*\nAnything else?'
    assert judge.follows(row, said) == [False]
    assert judge.follows(row, said, loose=True) == [True]
    assert variants("a*\nb\nc") == [
        "a*\nb\nc",
        "b\nc",
        "a*\nb",
        "b",
        "a\nb\nc",
        "b\nc",
        "a\nb",
        "b",
    ]


def test_what_is_not_understood_is_refused(judge: Instructions) -> None:
    with pytest.raises(ConfigError, match="unknown instruction `no:such`"):
        judge.follows({"instruction_id_list": ["no:such"], "kwargs": [{}]}, "x")
    name = "detectable_format:number_bullet_lists"
    with pytest.raises(ConfigError, match="lacks its argument `num_bullets`"):
        judge.follows({"instruction_id_list": [name], "kwargs": [{}]}, "x")
    row = {
        "instruction_id_list": ["length_constraints:number_words"],
        "kwargs": [{"relation": "about", "num_words": 3}],
    }
    with pytest.raises(ConfigError, match="unknown relation `about`"):
        judge.follows(row, "x")


def test_rates_are_shares_of_prompts_and_of_instructions() -> None:
    got = rates([[True, True], [True, False], [False]])
    assert (got.prompt, got.instruction) == (1 / 3, 3 / 5)
    with pytest.raises(ConfigError):
        rates([])


# Against lm-evaluation-harness


class Sentences:
    """Our Punkt in the place of the harness' own, whose model is a download."""

    def __init__(self) -> None:
        self.texts = Texts()

    def tokenize(self, text: str) -> list[str]:
        return self.texts.sentences(text)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness' `ifeval`, without the network and with a fixed seed for `langdetect`."""
    import langdetect
    from nltk.tokenize import NLTKWordTokenizer

    monkeypatch.setattr(nltk, "download", lambda _: False)
    try:
        from lm_eval.tasks.ifeval import instructions_util, utils
    except ImportError:
        pytest.skip("lm-evaluation-harness with `ifeval` is not installed")
    ours, words = Sentences(), NLTKWordTokenizer()
    monkeypatch.setattr(langdetect.DetectorFactory, "seed", 0)
    monkeypatch.setattr(instructions_util, "_get_sentence_tokenizer", lambda: ours)
    monkeypatch.setattr(
        nltk,
        "word_tokenize",
        lambda text: [word for line in ours.tokenize(text) for word in words.tokenize(line)],
    )
    return utils


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, Any]]:
    lines = (shared / "data/ifeval/input_data.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def pool(shared: Path) -> list[str]:
    """Texts of many languages and shapes, the wild with the hand-made."""
    texts = [
        "",
        " \n",
        "…",
        "123 456.",
        "***",
        "******",
        "*",
        '"',
        "[]",
        "{}",
        "null",
        "```json\n{}```",
    ]
    texts += [text for _, _, good, bad in CASES for text in good + bad if len(text) < 10_000]
    for name in ("c4_demo", "udhr_multilingual", "pride_and_prejudice_en"):
        with gzip.open(shared / f"data/corpus/{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"][:600] for line, _ in zip(lines, range(150))]  # noqa: B905
    return texts


def attempts(row: dict[str, Any], pool: list[str], rng: random.Random) -> Iterator[str]:
    """Completions that follow one instruction or another of `row`, or nearly."""
    text = rng.choice(pool)
    yield row["prompt"]
    yield text
    yield text.upper()
    yield f'"{text}"'
    yield "Sure!\n*" + text.lower().replace(",", "") + "*\nDone"
    for arguments in row["kwargs"]:
        for value in arguments.values():
            if isinstance(value, list):
                yield f"{text} {' '.join(value)}s {value[0].upper()}"
            elif isinstance(value, str):
                yield f"{value} {text}\n\n{value} 1 a\n{value} 2 b {value}"
                yield f"{text}\n\n{text} {value}"
            elif value is not None:
                few = min(value, 60)
                yield "\n".join(f"* [item {n}] **bold** NASA. Yes it is!" for n in range(few))
                yield "\n\n***\n\n".join([text[:50]] * few)
                yield "******".join(rng.sample(pool, few))


def test_verdicts_are_those_of_the_harness(
    judge: Instructions, harness: Any, rows: list[dict[str, Any]], pool: list[str]
) -> None:
    """All 541 prompts, some 5 000 completions, strict and loose, instruction by instruction.

    Left out is what the harness draws at random: letters that are no letters.
    """
    rng = random.Random(0)
    compared = followed = 0
    for row in rows:
        if any(not of.get("letter", "a").isalpha() for of in row["kwargs"]):
            continue
        inp = harness.InputExample(**row)
        for text in attempts(row, pool, rng):
            strict = harness.test_instruction_following_strict(inp, text).follow_instruction_list
            assert judge.follows(row, text) == strict, (row["key"], text)
            if rng.random() < 0.3:
                loose = harness.test_instruction_following_loose(inp, text).follow_instruction_list
                assert judge.follows(row, text, loose=True) == loose, (row["key"], text)
            compared, followed = compared + len(strict), followed + sum(strict)
    assert compared > 5000
    assert 0.15 < followed / compared < 0.85


def test_sentences_end_where_the_trained_model_ends_them(pool: list[str]) -> None:
    try:
        trained = nltk.tokenize.punkt.PunktTokenizer("english")
    except LookupError:
        pytest.skip("nltk's `punkt_tab` is not installed")
    texts = Texts()
    equal = [len(texts.sentences(text)) == len(trained.tokenize(text)) for text in pool]
    assert sum(equal) >= 0.95 * len(equal)
