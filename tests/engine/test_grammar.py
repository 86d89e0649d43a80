"""Constraints on a small vocabulary with the control tokens of Qwen2.5 and rows of padding."""

import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import date
from random import Random

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.schemas import draw, random_schema

from tongwen.engine.constraint import Choice, Constraint, JsonObject, JsonSchema, Lark, Regex
from tongwen.engine.grammar import Grammars
from tongwen.engine.matcher import Matcher, masks, unpack
from tongwen.engine.names import any_name_but
from tongwen.errors import RequestError
from tongwen.tokenizer.bpe import Tokenizer

VALIDATOR = jsonschema.Draft202012Validator
FORMATS = jsonschema.FormatChecker(["uuid", "ipv4"])
Write = Callable[[Constraint, int], str]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SUM = 'start: sum\nsum: NUMBER ("+" NUMBER)*\nNUMBER: /[1-9][0-9]{0,3}/'
EXAMPLES = {
    "object": (JsonObject(), '{"a": [1, {"b": null}]}'),
    "schema": (JsonSchema(PERSON), '{"name": "Ada", "age": 36}'),
    "regex": (Regex("(foo|ba[rz]){2,3}x*"), "foobarx"),
    "choice": (Choice(("yes", "yes, sir", "no")), "yes, sir"),
    "lark": (Lark(SUM), "12+3"),
}


@pytest.fixture(scope="module")
def write(words: Tokenizer, grammars: Grammars) -> Write:
    """Writes a random completion under a constraint."""

    def write(constraint: Constraint, seed: int) -> str:
        matcher = grammars.compile(constraint).matcher()
        drawn = draw(matcher, words, Random(seed), ends=grammars.eos_token_ids)
        return words.decode(drawn, skip_control=True)

    return write


def take(matcher: Matcher, token_ids: list[int]) -> None:
    for token_id in token_ids:
        mask = matcher.mask()
        assert mask is None or unpack(mask, 32 * len(mask))[token_id]
        matcher.accept(token_id)


@pytest.mark.parametrize("start", range(0, 1000, 250))
def test_a_thousand_random_schemas_give_valid_json(write: Write, start: int) -> None:
    for seed in range(start, start + 250):
        schema = random_schema(Random(seed))
        text = write(JsonSchema(schema), seed)
        VALIDATOR(schema, format_checker=FORMATS).validate(json.loads(text))


def test_drawn_schemas_have_every_kind_of_part() -> None:
    drawn = json.dumps([random_schema(Random(seed)) for seed in range(1000)])
    keywords = "$ref anyOf allOf enum const pattern format minLength maxLength minItems maxItems"
    numbers = "prefixItems minimum exclusiveMinimum maximum exclusiveMaximum multipleOf"
    objects = "additionalProperties patternProperties required minProperties maxProperties"
    for keyword in f"{keywords} {numbers} {objects}".split():
        assert f'"{keyword}"' in drawn, keyword


@pytest.mark.parametrize("kind", EXAMPLES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_whatever_is_drawn_satisfies_the_constraint(write: Write, kind: str, seed: int) -> None:
    constraint, _ = EXAMPLES[kind]
    text = write(constraint, seed)
    match constraint:
        case JsonObject():
            assert isinstance(json.loads(text), dict)
        case JsonSchema(schema):
            VALIDATOR(schema).validate(json.loads(text))
        case Regex(pattern):
            assert re.fullmatch(pattern, text)
        case Choice(options):
            assert text in options
        case Lark():
            assert re.fullmatch(r"[1-9][0-9]{0,3}(\+[1-9][0-9]{0,3})*", text)


def test_every_option_of_a_choice_can_be_drawn_and_nothing_else(write: Write) -> None:
    options = ("yes", "yes, sir", "no", "<|im_end|>", "a|b", "(.*)", "é~&#-", "\n")
    drawn = {write(Choice(options), seed) for seed in range(400)}
    # An option that another begins with ends where it may, so only the shorter is drawn.
    assert drawn == set(options) - {"yes, sir"}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_text_may_end_where_it_satisfies_the_constraint(
    words: Tokenizer, grammars: Grammars, kind: str
) -> None:
    constraint, text = EXAMPLES[kind]
    matcher = grammars.compile(constraint).matcher()
    take(matcher, words.encode(text))
    assert all(matcher.validate([end]) == 1 for end in grammars.eos_token_ids)
    take(matcher, [grammars.eos_token_ids[1]])
    assert matcher.is_finished
    assert matcher.validate(words.encode("x")) == 0


@pytest.mark.parametrize("kind", EXAMPLES)
def test_control_tokens_and_padding_are_never_allowed(
    words: Tokenizer, grammars: Grammars, num_rows: int, kind: str
) -> None:
    constraint, text = EXAMPLES[kind]
    matcher = grammars.compile(constraint).matcher()
    never = [*range(len(words), num_rows), *set(words.control.values()) - {*grammars.eos_token_ids}]
    for token_id in [*words.encode(text), None]:
        mask = matcher.mask()
        assert mask is not None
        assert mask.dtype == np.uint32
        assert not unpack(mask, num_rows)[never].any()
        if token_id is not None:
            matcher.accept(token_id)


def test_a_control_string_in_a_constraint_is_ordinary_text(
    words: Tokenizer, grammars: Grammars
) -> None:
    matcher = grammars.compile(Choice(("<|im_end|>",))).matcher()
    assert matcher.validate([words.control["<|im_end|>"]]) == 0
    assert matcher.validate(words.encode("<|im_end|>")) == len(words.encode("<|im_end|>"))


def test_text_that_normalising_would_change_can_be_written(write: Write) -> None:
    decomposed = "e\u0301"  # the tokenizer composes it
    assert write(Choice((decomposed,)), 0) == decomposed
    schema = {"type": "object", "properties": {decomposed: {"const": 1}}, "required": [decomposed]}
    assert json.loads(write(JsonSchema(schema | {"additionalProperties": False}), 0)) == {
        decomposed: 1
    }


def test_no_more_than_one_blank_or_an_indented_line_stands_between_parts(
    words: Tokenizer, grammars: Grammars
) -> None:
    fits = ['{"a": 1}', '{"a":1}', json.dumps({"a": [1, {"b": 2}]}, indent=4), '{\n\t"a": 1}']
    not_fits = ['{  "a": 1}', '{\n\n"a": 1}', ' {"a": 1}', '{"a":\n' + " " * 40 + "1}"]
    for text in fits + not_fits:
        matcher = grammars.compile(JsonObject()).matcher()
        token_ids = words.encode(text)
        assert (matcher.validate(token_ids) == len(token_ids)) == (text in fits), text


def test_a_rejected_token_ends_this_matcher_alone(words: Tokenizer, grammars: Grammars) -> None:
    grammar = grammars.compile(JsonObject())
    good, bad = grammar.matcher(), grammar.matcher()
    with pytest.raises(RequestError, match="does not allow token"):
        bad.accept(words.encode("x")[0])
    take(good, words.encode('{"a": 1}'))
    assert good.is_finished
    with pytest.raises(RequestError, match="ended before"):
        grammar.matcher().accept(grammars.eos_token_ids[0])


@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_is_rolled_back_was_never_accepted(
    words: Tokenizer, grammars: Grammars, kind: str
) -> None:
    constraint, text = EXAMPLES[kind]
    token_ids = [*words.encode(text), grammars.eos_token_ids[0]]
    matcher = grammars.compile(constraint).matcher()
    for length in range(len(token_ids) + 1):
        before = [mask.tobytes() for mask in masks(matcher, token_ids) if mask is not None]
        for token_id in token_ids[:length]:
            matcher.accept(token_id)
        matcher.rollback(length)
        assert not matcher.is_finished
        assert [mask.tobytes() for mask in masks(matcher, token_ids) if mask is not None] == before


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_draft_is_masked_as_it_would_be_token_by_token(
    words: Tokenizer, grammars: Grammars, kind: str
) -> None:
    constraint, text = EXAMPLES[kind]
    token_ids = words.encode(text)
    wrong = [*token_ids[:3], words.control["<|im_start|>"], *token_ids[3:]]
    grammar = grammars.compile(constraint)
    matcher, one_by_one = grammar.matcher(), grammar.matcher()
    found = masks(matcher, wrong)
    assert len(found) == 1 + len(token_ids[:3])
    for mask, token_id in zip(found, token_ids, strict=False):
        alone = one_by_one.mask()
        assert mask is not None
        assert alone is not None
        assert mask.tobytes() == alone.tobytes()
        one_by_one.accept(token_id)
    assert matcher.validate(wrong) == 3


def test_forced_tokens_are_those_that_the_mask_leaves(words: Tokenizer, grammars: Grammars) -> None:
    schema = {"type": "object", "properties": {"name": {"const": "Ada"}}, "required": ["name"]}
    matcher = grammars.compile(JsonSchema(schema | {"additionalProperties": False})).matcher()
    take(matcher, words.encode('{"'))
    forced = matcher.forced()
    assert words.decode(forced).startswith("name")
    for token_id in forced:
        mask = matcher.mask()
        assert mask is not None
        assert np.flatnonzero(unpack(mask, len(words))).tolist() == [token_id]
        matcher.accept(token_id)


def test_properties_are_written_in_the_order_of_the_schema(write: Write) -> None:
    names = ["z", "a", "m"]
    schema = {"type": "object", "properties": {name: {} for name in names}, "required": names}
    for seed in range(20):
        assert [name for name in json.loads(write(JsonSchema(schema), seed)) if name in names][
            :3
        ] == names


def test_dates_are_dates(write: Write) -> None:
    for seed in range(20):
        text = json.loads(write(JsonSchema({"type": "string", "format": "date"}), seed))
        date.fromisoformat(text.replace("0000", "2000", 1))


def test_the_same_constraint_is_compiled_once(grammars: Grammars) -> None:
    first = grammars.compile(JsonSchema(PERSON))
    assert grammars.compile(JsonSchema(json.loads(json.dumps(PERSON)))) is first
    for place in range(100):
        grammars.compile(Choice((f"{place}",)))
    assert grammars.compile(JsonSchema(PERSON)) is not first


def test_rows_need_not_be_a_multiple_of_a_word(words: Tokenizer) -> None:
    end = words.control["<|im_end|>"]
    for num_rows in (len(words), len(words) + 1, len(words) + 33):
        grammars = Grammars(words, num_rows=num_rows, eos_token_ids=[end])
        matcher = grammars.compile(Choice(("a",))).matcher()
        take(matcher, words.encode("a"))
        mask = matcher.mask()
        assert mask is not None
        assert len(mask) == -(-num_rows // 32)
        assert np.flatnonzero(unpack(mask, num_rows)).tolist() == [end]


def test_a_vocabulary_without_an_end_takes_no_constraint(words: Tokenizer) -> None:
    with pytest.raises(RequestError, match="ends a completion"):
        Grammars(words, num_rows=700, eos_token_ids=[]).compile(JsonObject())


EXPLODING = {
    "regex of a million": Regex("((a{100}){100}){100}"),
    "long regex": Regex("a|" * 5000),
    "pattern of a million": JsonSchema({"type": "string", "pattern": "(a{1000}){1000}"}),
    "names of a million": JsonSchema({"patternProperties": {"((ab){999}c){999}": {}}}),
    "crossing patterns": JsonSchema(
        {
            "type": "string",
            "allOf": [{"pattern": f"{c}.{{{n}}}$"} for n, c in enumerate("abcdef", 20)],
        }
    ),
    "wide": JsonSchema({"type": "object", "properties": {f"p{n}": {} for n in range(501)}}),
    "large": JsonSchema({"enum": [f"value {n}" for n in range(9000)]}),
    "deep": JsonSchema(json.loads('{"items":' * 60 + "{}" + "}" * 60)),
    "very deep": JsonSchema(json.loads('{"items":' * 900 + "{}" + "}" * 900)),
    "combinations": JsonSchema(
        {
            "allOf": [
                {"anyOf": [{"properties": {f"p{i}{j}": {"const": i}}} for i in range(5)]}
                for j in range(9)
            ]
        }
    ),
    "multiple": JsonSchema({"type": "integer", "multipleOf": 999_983}),
    "choice": Choice(tuple(map(str, range(5000)))),
    "long choice": Choice(("a" * 70_000,)),
    "Lark of a million": Lark('start: a{1000000}\na: "x" | "y"'),
    "Lark regex of a million": Lark("start: /((a{100}){100}){100}/"),
    "crossing terminals": Lark(
        "start: A\nA: /(?s:.)*a(?s:.){18}/ & /(?s:.)*b(?s:.){17}/ & ~/(?s:.)*c(?s:.){13}/"
    ),
    "long Lark": Lark("start: " + '"a" ' * 20_000),
}


@pytest.mark.parametrize("name", EXPLODING)
def test_what_explodes_is_refused_in_time(grammars: Grammars, name: str) -> None:
    grammars.compile(JsonObject())  # the vocabulary's table is made before the clock starts
    started_s = time.process_time()
    with pytest.raises(RequestError):
        grammars.compile(EXPLODING[name])
    assert time.process_time() - started_s < 3


NUMBERED = [
    ("regex of a million", "1000000 times"),
    ("wide", "501 properties"),
    ("large", "bytes; at most 65536"),
    ("deep", "levels deep; at most 48"),
    ("choice", "5000 texts"),
    ("long regex", "10000 characters"),
]


@pytest.mark.parametrize(("name", "number"), NUMBERED)
def test_a_refusal_has_numbers_in_it(grammars: Grammars, name: str, number: str) -> None:
    with pytest.raises(RequestError, match=number):
        grammars.compile(EXPLODING[name])


NOTHING: list[tuple[Constraint, str]] = [
    (Regex("["), "cannot be kept"),
    (Regex("(?=a)b"), "look-around"),
    (Regex("\ud800"), "surrogate"),
    (Choice(("\ud800",)), "surrogate"),
    (Lark("start: \ud800"), "surrogate"),
    (Lark("begin: /a/"), "start"),
    (Lark('start: a\na: a "x"'), "no text satisfies"),
    (Lark("start: <|im_start|>"), "control tokens"),
    (Lark("start: <[151644]>"), "control tokens"),
    (Lark("start[max_tokens=3]: /a*/"), "options of a rule"),
    (Lark('%llguidance {"no_forcing": true}\nstart: "a"'), "options of the parser"),
    (Lark('start: a\na: %json {"uniqueItems": true}'), "uniqueItems"),
    (Lark("start: a\na: %json {"), "%json"),
    (JsonSchema(False), "cannot be kept"),
    (JsonSchema({"type": "integer", "minimum": 5, "maximum": 3}), "minimum"),
    (JsonSchema({"type": "string", "pattern": "^a$", "minLength": 5}), "empty"),
    (JsonSchema({"enum": []}), "cannot be kept"),
]


@pytest.mark.parametrize(("constraint", "reason"), NOTHING)
def test_what_no_text_satisfies_or_is_malformed_is_refused(
    grammars: Grammars, constraint: Constraint, reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        grammars.compile(constraint)


def test_strings_and_comments_of_a_grammar_may_hold_anything(write: Write) -> None:
    grammar = 'start: "<|im_end|> & ~" /[&~]/ # stop & <x>\n// max_tokens'
    assert write(Lark(grammar), 1)[:-1] == "<|im_end|> & ~"


@pytest.mark.parametrize("options", [(), "yes", ("",), ["a", ""]])
def test_a_choice_of_nothing_is_refused(options: Sequence[str]) -> None:
    with pytest.raises(RequestError, match="choice"):
        Choice(options)


@pytest.mark.parametrize("name", ['{"\\u0061ge": "x"}', '{"a\\u0067e": 1}'])
def test_a_name_is_no_other_for_being_written_with_escapes(grammars: Grammars, name: str) -> None:
    """Else its value would be free."""
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    matcher = grammars.compile(JsonSchema(schema)).matcher()
    ids = grammars._tokenizer.encode(name)
    assert matcher.validate(ids) < len(ids)
    other = grammars._tokenizer.encode('{"age": 3, "say": "x", "say \\"hi\\"": 2}')
    assert matcher.validate(other) == len(other)


def test_other_names_are_all_but_the_listed_ones(grammars: Grammars) -> None:
    """Those have a schema of their own, which a listed name must not escape to."""
    listed = {"age": {"type": "integer"}, "ago": {"type": "null"}, 'a"g': {"type": "null"}}
    schema = {"type": "object", "properties": listed, "additionalProperties": {"type": "string"}}
    matcher = grammars.compile(JsonSchema(schema)).matcher()

    def holds(text: str) -> bool:
        ids = grammars._tokenizer.encode(text)
        return matcher.validate(ids) == len(ids)

    assert holds('{"age": 3, "ag": "x", "ages": "y", "b": "z", "": "w"}')
    assert not holds('{"\\u0061ge": "x"}')
    assert not holds('{"b": 2}')


@given(st.lists(st.text("abé", max_size=4), max_size=6), st.text("abcé", max_size=5))
def test_the_expression_of_other_names_is_exact(names: list[str], text: str) -> None:
    ours = any_name_but(names)
    python = re.sub(r"\\x\{(\w+)\}", lambda found: re.escape(chr(int(found[1], 16))), ours)
    assert (re.fullmatch(python, text) is not None) == (text not in names)
