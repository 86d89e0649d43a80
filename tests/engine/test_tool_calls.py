"""Tool calls under a grammar, in both forms, on a vocabulary with and without their markers."""

import json
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import numpy as np
import pytest
from tests.engine.schemas import draw

from tongwen.checkpoint.gguf import GGUFFile
from tongwen.engine.constraint import ToolCalls, ToolChoice
from tongwen.engine.grammar import Grammars
from tongwen.engine.matcher import Matcher, masks, unpack
from tongwen.errors import RequestError
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.chat import FAMILIES, ChatML
from tongwen.tokenizer.special import QWEN2
from tongwen.tokenizer.tool_stream import parse_tool_calls
from tongwen.tokenizer.tools import ToolForm
from tongwen.tokenizer.train import train_tokenizer

Tool = dict[str, Any]
FORMS: tuple[ToolForm, ...] = ("hermes", "qwen2")


def tool(name: str, parameters: object = None, **more: object) -> Tool:
    function = {"name": name, "parameters": parameters} | more
    return {"type": "function", "function": {k: v for k, v in function.items() if v is not None}}


CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "units": {"$ref": "#/$defs/units"},
    },
    "required": ["city", "days"],
    "$defs": {"units": {"enum": ["C", "F"]}},
}
TOOLS = (tool("get", CITY), tool("get_now"), tool("note", {"type": "object"}))
ANSWERS: dict[ToolForm, str] = {
    "hermes": (
        "A < b, <tool_ call>.\n"
        '<tool_call>\n{"name": "get", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_now", "arguments": {}}\n</tool_call>'
    ),
    "qwen2": (
        "A ✿ b: ✿FUNCTION.\n"
        '✿FUNCTION✿: get\n✿ARGS✿: {"city": "Paris", "days": 3}\n'
        "✿FUNCTION✿: get_now\n✿ARGS✿: {}\n"
    ),
}
OPENERS: dict[ToolForm, str] = {"hermes": "<tool_call>", "qwen2": "✿FUNCTION✿:"}


@pytest.fixture(scope="module")
def older() -> Tokenizer:
    """A vocabulary of Qwen2, without the markers of calls; bytes only."""
    return train_tokenizer(["aaaa"] * 9, 262, [token.text for token in QWEN2])


@pytest.fixture(scope="module", params=["words", "older"])
def vocabulary(request: pytest.FixtureRequest) -> Tokenizer:
    vocabulary: Tokenizer = request.getfixturevalue(request.param)
    return vocabulary


@pytest.fixture(scope="module")
def compiler(vocabulary: Tokenizer) -> Grammars:
    ends = [vocabulary.control["<|im_end|>"], vocabulary.control["<|endoftext|>"]]
    return Grammars(vocabulary, num_rows=len(vocabulary) + 9, eos_token_ids=ends)


def allowed(matcher: Matcher, num_rows: int) -> set[int]:
    mask = matcher.mask()
    return set(range(num_rows)) if mask is None else {*np.flatnonzero(unpack(mask, num_rows))}


def refused_at(matcher: Matcher, token_ids: list[int], num_rows: int) -> int | None:
    """Accept tokens; the place of the first that is not allowed."""
    for place, token_id in enumerate(token_ids):
        if token_id not in allowed(matcher, num_rows):
            return place
        matcher.accept(token_id)
    return None


def drawn_text(matcher: Matcher, vocabulary: Tokenizer, compiler: Grammars, seed: int) -> str:
    ends = compiler.eos_token_ids
    drawn = draw(matcher, vocabulary, Random(seed), ends=ends)
    text = vocabulary.decode(token_id for token_id in drawn if token_id not in ends)
    return text.removesuffix("✿RESULT✿")


@pytest.mark.parametrize("form", FORMS)
def test_free_text_and_calls_as_the_model_was_trained_to_write_them_are_allowed(
    vocabulary: Tokenizer, compiler: Grammars, form: ToolForm
) -> None:
    matcher = compiler.compile(ToolCalls(tools=TOOLS, form=form)).matcher()
    token_ids = vocabulary.encode(ANSWERS[form], allow_control=True)
    assert refused_at(matcher, token_ids, len(vocabulary)) is None
    assert not matcher.is_finished
    assert refused_at(matcher, vocabulary.encode(" So?"), len(vocabulary)) is None
    matcher.accept(compiler.eos_token_ids[0])
    assert matcher.is_finished
    assert allowed(matcher, len(vocabulary)) == {*compiler.eos_token_ids}


@pytest.mark.parametrize("form", FORMS)
def test_text_is_free_of_masks_until_a_call_opens(
    words: Tokenizer, grammars: Grammars, form: ToolForm
) -> None:
    matcher = grammars.compile(ToolCalls(tools=TOOLS, form=form)).matcher()
    said, opener, _ = ANSWERS[form].partition(OPENERS[form])
    for token_id in words.encode(said.replace("✿", "")):
        assert matcher.mask() is None
        matcher.accept(token_id)
    *_, last = opening = words.encode(opener, allow_control=True)
    for token_id in opening:
        assert token_id in allowed(matcher, len(words))
        matcher.accept(token_id)
    assert matcher.mask() is not None, last


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "call",
    [
        '{"name": "gone", "arguments": {}}',
        '{"name": "get", "arguments": {"days": 3}}',
        '{"name": "get", "arguments": {"city": "Paris", "days": 30}}',
        '{"name": "get", "arguments": {"city": "Paris", "days": 3, "units": "K"}}',
        '{"name": "get_now", "arguments": {"zone": 1}}',
        '{"name": "note", "arguments": "[]"}',
    ],
)
def test_a_call_by_another_name_or_schema_is_not_allowed(
    vocabulary: Tokenizer, compiler: Grammars, form: ToolForm, call: str
) -> None:
    wrong = json.loads(call)
    message = {"role": "assistant", "content": "Hm.", "tool_calls": [wrong]}
    family = FAMILIES["qwen2.5" if form == "hermes" else "qwen2"]
    text = ChatML(vocabulary, family).text([{"role": "user", "content": "x"}, message])
    written = text.partition("<|im_start|>assistant\n")[2].partition("<|im_end|>")[0] + "\n"
    matcher = compiler.compile(ToolCalls(tools=TOOLS, form=form)).matcher()
    token_ids = vocabulary.encode(written, allow_control=True)
    assert refused_at(matcher, token_ids, len(vocabulary)) is not None


@pytest.mark.parametrize("form", FORMS)
def test_calls_by_chance_are_calls_by_the_schema(
    vocabulary: Tokenizer, compiler: Grammars, form: ToolForm
) -> None:
    asked = ToolCalls(tools=TOOLS, form=form, choice="required")
    seen = set()
    for seed in range(40):
        matcher = compiler.compile(asked).matcher()
        text = drawn_text(matcher, vocabulary, compiler, seed)
        said, calls = parse_tool_calls(text, form)
        assert said.strip() == ""
        assert calls
        for call in calls:
            seen.add(call.name)
            arguments = json.loads(call.arguments)
            assert isinstance(arguments, dict)
            if call.name == "get":
                jsonschema.validate(arguments, CITY)
                assert set(arguments) <= set(CITY["properties"])
    assert seen == {"get", "get_now", "note"}


@pytest.mark.parametrize("form", FORMS)
def test_a_named_tool_is_the_only_one(
    vocabulary: Tokenizer, compiler: Grammars, form: ToolForm
) -> None:
    asked = ToolCalls(tools=TOOLS, form=form, choice="required", name="get_now", parallel=False)
    for seed in range(5):
        matcher = compiler.compile(asked).matcher()
        text = drawn_text(matcher, vocabulary, compiler, seed)
        (call,) = parse_tool_calls(text, form)[1]
        assert (call.name, json.loads(call.arguments)) == ("get_now", {})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_one_call_is_the_last_where_they_are_not_parallel(
    vocabulary: Tokenizer, compiler: Grammars, form: ToolForm, choice: ToolChoice
) -> None:
    asked = ToolCalls(tools=TOOLS, form=form, choice=choice, parallel=False)
    matcher = compiler.compile(asked).matcher()
    text = ANSWERS[form][ANSWERS[form].index(OPENERS[form]) :]
    calls = text.split(OPENERS[form])[1:]
    first = vocabulary.encode(
        OPENERS[form] + calls[0].rstrip() + "\n" * (form == "qwen2"), allow_control=True
    )
    second = vocabulary.encode(OPENERS[form] + calls[1], allow_control=True)
    assert refused_at(matcher, first, len(vocabulary)) is None
    refused = refused_at(matcher, second, len(vocabulary))
    assert refused is not None
    # In Qwen2's form a call that must be made may end in the opening of its results.
    assert refused == 0 or (form, choice) == ("qwen2", "required")


@pytest.mark.parametrize("form", FORMS)
def test_no_call_opens_where_none_may(
    vocabulary: Tokenizer, compiler: Grammars, form: ToolForm
) -> None:
    matcher = compiler.compile(ToolCalls(tools=TOOLS, form=form, choice="none")).matcher()
    said, opener, _ = ANSWERS[form].partition(OPENERS[form])
    assert refused_at(matcher, vocabulary.encode(said), len(vocabulary)) is None
    opening = vocabulary.encode(opener, allow_control=True)
    assert refused_at(matcher, opening, len(vocabulary)) == len(opening) - 1
    with pytest.raises(RequestError, match="opens a tool call"):
        matcher.accept(opening[-1])


def test_a_token_that_runs_over_the_end_of_a_marker_is_kept_out() -> None:
    over = train_tokenizer([">\n"] * 99, 275, [token.text for token in QWEN2])
    (long,) = over.encode(">\n")
    grammars = Grammars(over, num_rows=len(over), eos_token_ids=[over.control["<|im_end|>"]])
    matcher = grammars.compile(ToolCalls(tools=TOOLS, form="hermes")).matcher()
    assert refused_at(matcher, over.encode("a <tool_call"), len(over)) is None
    assert long not in allowed(matcher, len(over))
    assert {*over.encode(">"), *over.encode("x")} <= allowed(matcher, len(over))


@pytest.mark.parametrize("form", FORMS)
def test_rolling_back_over_the_ends_of_calls_restores_every_mask(
    vocabulary: Tokenizer, compiler: Grammars, form: ToolForm
) -> None:
    token_ids = [*vocabulary.encode(ANSWERS[form], allow_control=True), compiler.eos_token_ids[0]]
    matcher = compiler.compile(ToolCalls(tools=TOOLS, form=form)).matcher()

    def seen() -> list[bytes | None]:
        return [mask if mask is None else mask.tobytes() for mask in masks(matcher, token_ids)]

    before = seen()
    assert len(before) == len(token_ids)
    assert matcher.validate(token_ids) == len(token_ids)
    for length in range(len(token_ids) + 1):
        for token_id in token_ids[:length]:
            matcher.accept(token_id)
        matcher.rollback(length)
        assert seen() == before


def test_a_code_interpreter_takes_code_in_qwen2s_form(words: Tokenizer, grammars: Grammars) -> None:
    tools = [tool("code_interpreter", {"type": "object", "properties": {"code": {}}})]
    asked = ToolCalls(tools=tools, form="qwen2", choice="required")
    matcher = grammars.compile(asked).matcher()
    text = "✿FUNCTION✿: code_interpreter\n✿ARGS✿: \n```py\nprint('✿')\n```\n✿RESULT✿"
    assert refused_at(matcher, words.encode(text), len(words)) is None
    assert matcher.is_finished


def test_what_a_tool_asks_for_and_is_not_enforced_is_told(grammars: Grammars) -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"enum": [1]}, "uniqueItems": True}},
        "required": ["a"],
    }
    matched = {"type": "object", "properties": {"b": {"type": "string", "pattern": "(?=x)"}}}
    asked = ToolCalls(tools=(tool("f", parameters), tool("g", matched)), form="hermes")
    unique, look = grammars.compile(asked).warnings
    assert "tool `f`: `uniqueItems` at `#/properties/a`" in unique
    assert "tool `g`: any object is allowed" in look


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"type": "object", "properties": {"a": {"uniqueItems": True}}}, "tool `f`: .*uniqueItems"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "tool `f`: .*look-around"),
    ],
)
def test_a_strict_tool_is_enforced_to_the_letter_or_refused(
    grammars: Grammars, parameters: object, reason: str
) -> None:
    asked = ToolCalls(tools=(tool("f", parameters, strict=True),), form="hermes")
    with pytest.raises(RequestError, match=reason):
        grammars.compile(asked)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"type": "string"}, "describe a `string`"),
        ([], "no JSON schema"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "tool `f`: .*does not exist"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "tool `f`: .*without end"),
    ],
)
def test_parameters_that_describe_no_object_are_refused(
    grammars: Grammars, parameters: object, reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        grammars.compile(ToolCalls(tools=(tool("f", parameters),), form="hermes"))


def test_contradictory_choices_are_refused() -> None:
    with pytest.raises(RequestError, match="defined 2 times"):
        ToolCalls(tools=(tool("f"), tool("f")), form="hermes")
    with pytest.raises(RequestError, match="there is no tool"):
        ToolCalls(tools=(), form="hermes", choice="required")
    with pytest.raises(RequestError, match="the tools are `f`"):
        ToolCalls(tools=(tool("f"),), form="hermes", choice="required", name="g")
    with pytest.raises(RequestError, match="and is `auto` too"):
        ToolCalls(tools=(tool("f"),), form="hermes", name="f")


def test_too_many_tools_are_refused_with_their_number(grammars: Grammars) -> None:
    tools = tuple(tool(f"f{place}") for place in range(257))
    with pytest.raises(RequestError, match="257 tools"):
        grammars.compile(ToolCalls(tools=tools, form="hermes"))


@pytest.mark.real
def test_calls_are_allowed_as_the_real_vocabulary_writes_them(real_gguf: Path) -> None:
    real = GGUFFile(real_gguf).tokenizer()
    ends = [real.control["<|im_end|>"], real.control["<|endoftext|>"]]
    compiler = Grammars(real, num_rows=real.num_rows, eos_token_ids=ends)
    assert len(real) < real.num_rows
    for form in FORMS:
        for choice in ("auto", "required"):
            start = 0 if choice == "auto" else ANSWERS[form].index(OPENERS[form])
            text = ANSWERS[form][start:]
            matcher = compiler.compile(ToolCalls(tools=TOOLS, form=form, choice=choice)).matcher()
            for token_id in [*real.encode(text, allow_control=True), ends[0]]:
                mask = matcher.mask()
                if mask is not None:
                    rows = unpack(mask, real.num_rows)
                    assert rows[token_id]
                    assert not rows[len(real) :].any()
                matcher.accept(token_id)
            assert matcher.is_finished
