"""Tool calls read from text in pieces: the same whatever the pieces, and nothing lost."""

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.tool_events import (
    ArgumentsDelta,
    CallClosed,
    CallOpened,
    ContentDelta,
    ToolEvent,
    ToolStream,
    gather,
)
from tongwen.tokenizer.tool_stream import parse_tool_calls, tool_stream
from tongwen.tokenizer.tools import ToolForm

RECORDED = json.loads((Path(__file__).parent / "answers.json").read_text(encoding="utf-8"))
"""Greedy answers of Qwen2.5-Coder-0.5B-Instruct to `make_answers.py`."""

MADE: list[tuple[ToolForm, str]] = [
    ("hermes", 'Hm.\n<tool_call>\n{"name": "f", "arguments": {"a": "é\\"}<"}}\n</tool_call>'),
    ("hermes", '<tool_call>{"name":"f","arguments":{}}</tool_call>\n<tool_call>[]</tool_call> x'),
    ("hermes", '<tool_call>\n{"arguments": {"a": {}}, "name": "f"}\n</tool_call>\n'),
    ("hermes", '<tool_call>\n{"name": "f", "arguments": "{\\"a\\": 1}", "id": {}}\n</tool_call>'),
    ("hermes", 'a\n\n<tool_call>\n{"name": "f", "arguments": {"a": "</tool_call>"}}\n</tool_call'),
    ("hermes", '<tool_call>\n{"name": "f\n<tool_call>\n{"name": "g", "arguments": {}}'),
    (
        "hermes",
        '```json\n{\n "name": "f",\n "arguments": {"a": 1}\n}\n```\n{"name": "g", "arguments": {}}',
    ),
    ("hermes", ' {"name": "f", "arguments": {}} <tool_call>{"name": "h", "arguments": {}}'),
    ("hermes", '```json\n{"name": "other", "arguments": {}}\n```'),
    ("hermes", "a <tool_call <tool_call>\n<tool_call>\n{{</tool_call>"),
    ("qwen2", ": Hm. ✿ \n\n✿FUNCTION✿: f\n✿ARGS✿: {}\n✿FUNCTION✿: g \n✿ARGS✿: \n```py\n1\n```\n"),
    ("qwen2", "a\n✿FUNCTION✿: two words\n✿ARGS✿: 1\n✿FUNCTION✿: g\n✿RESULT✿: 3 ✿FUNCTION✿: h"),
    ("qwen2", "✿FUNCTION: ✿FUNCTION✿✿FUNCTION✿: ✿ARGS✿: ✿FUNCTION✿: f✿ARGS✿:  x ✿ y ✿RES"),
]
TEXTS: list[tuple[ToolForm, str]] = [*MADE, *((each["form"], each["text"]) for each in RECORDED)]
HEAD = '{"name": "f", "arguments": '
PARTS: dict[ToolForm, list[str]] = {
    "hermes": [
        *'\n {}"\\<,:é',
        "<tool_call>",
        "</tool_call>",
        HEAD,
        "tool_",
        "[1]",
        '"name"',
        "</",
    ],
    "qwen2": [*"✿: \n\tf", "✿FUNCTION✿:", "✿ARGS✿:", "✿RESULT✿", "✿RETURN✿", "ARGS", '{"a": 1}'],
}
NAMES = ("f", "g", "get_weather", "search", "run_python", "send_mail")
SOUPS = {form: st.lists(st.sampled_from(parts), max_size=14) for form, parts in PARTS.items()}


def read(stream: ToolStream, pieces: list[str]) -> list[ToolEvent]:
    return [*(event for piece in pieces for event in stream.push(piece)), *stream.finish()]


def joined(events: list[ToolEvent]) -> list[ToolEvent]:
    """The events with neighbouring deltas joined: what must not depend on the pieces."""
    found: list[ToolEvent] = []
    for event in events:
        match found[-1:], event:
            case [ContentDelta(before)], ContentDelta(text):
                found[-1] = ContentDelta(before + text)
            case [ArgumentsDelta(index, before)], ArgumentsDelta(_, text):
                found[-1] = ArgumentsDelta(index, before + text)
            case _:
                found.append(event)
    return found


def check(form: ToolForm, pieces: list[str]) -> None:
    for constrained, names in product((False, True), ((), NAMES)):
        whole, piecewise = (
            joined(read(tool_stream(form, constrained=constrained, names=names), each))
            for each in (["".join(pieces)], pieces)
        )
        assert piecewise == whole
        opened = [event for event in whole if isinstance(event, CallOpened)]
        assert [event.index for event in opened] == list(range(len(opened)))
        closed = [event for event in whole if isinstance(event, CallClosed)]
        assert [event.index for event in closed] == list(range(len(opened)))


@pytest.mark.parametrize(("form", "text"), TEXTS)
def test_a_split_at_any_place_changes_nothing(form: ToolForm, text: str) -> None:
    for place in range(len(text) + 1):
        check(form, [text[:place], text[place:]])
    check(form, list(text))


@pytest.mark.parametrize("form", PARTS)
@given(data=st.data())
def test_pieces_of_any_text_change_nothing(form: ToolForm, data: st.DataObject) -> None:
    text = "".join(data.draw(SOUPS[form]))
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    check(form, [text[i:j] for i, j in zip([0, *places], [*places, len(text)], strict=True)])


@given(parts=SOUPS["hermes"])
def test_no_text_but_what_surrounds_calls_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    said, calls = parse_tool_calls(text, "hermes")
    if not calls:
        assert said == text
    # What is content stands in the text in its order.
    rest = iter(text)
    assert all(char in rest for char in said)


@pytest.mark.parametrize(("form", "text"), TEXTS)
def test_well_formed_calls_are_the_same_reported_at_once_or_whole(
    form: ToolForm, text: str
) -> None:
    complete = [
        event.index
        for event in read(tool_stream(form, constrained=True), [text])
        if isinstance(event, CallClosed) and event.complete
    ]
    _, early = gather(read(tool_stream(form, constrained=True), [text]))
    _, late = parse_tool_calls(text, form)
    assert [early[index] for index in complete] == late


def test_arguments_come_as_they_are_written_where_they_are_constrained() -> None:
    stream = tool_stream("hermes", constrained=True)
    pieces = [
        "Hm.\n",
        "<tool",
        '_call>\n{"name": "f", "argu',
        'ments": {"a": "b',
        'c"}}',
        "\n</tool_call>",
    ]
    assert [stream.push(piece) for piece in pieces] == [
        [ContentDelta("Hm.")],
        [],
        [],
        [CallOpened(0, "f"), ArgumentsDelta(0, '{"a": "b')],
        [ArgumentsDelta(0, 'c"}'), CallClosed(0)],
        [],
    ]
    assert stream.finish() == []


def test_a_call_is_held_back_until_it_is_whole_where_nothing_constrains_it() -> None:
    stream = tool_stream("hermes", constrained=False)
    assert stream.push('<tool_call>\n{"name": "f", "arguments": {"a": [1, 2') == []
    assert stream.push("]}}") == [
        CallOpened(0, "f"),
        ArgumentsDelta(0, '{"a": [1, 2]}'),
        CallClosed(0),
    ]


def test_a_constrained_call_that_is_cut_is_reported_as_incomplete() -> None:
    stream = tool_stream("hermes", constrained=True)
    stream.push('<tool_call>\n{"name": "f", "arguments": {"a": [1, 2')
    assert stream.finish() == [CallClosed(0, complete=False)]


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ('{"name": "f", "arguments": {"a": 1}}', "", [ToolCall("f", '{"a": 1}')]),
        ('```json\n{"name": "f",\n"arguments": {}}\n```', "", [ToolCall("f", "{}")]),
        ('```\n{"name": "f", "arguments": {}}\n```\nDone.', "\nDone.", [ToolCall("f", "{}")]),
        (f"{HEAD}{{}}}}\n{HEAD}{{}}}}", "", [ToolCall("f", "{}")] * 2),
        ('Yes: {"name": "f", "arguments": {}}', 'Yes: {"name": "f", "arguments": {}}', []),
        ('{"name": "app", "arguments": {}}', '{"name": "app", "arguments": {}}', []),
        ('{"name": "f", "version": 1}', '{"name": "f", "version": 1}', []),
        ('{"name": "f", "arguments": {', '{"name": "f", "arguments": {', []),
        ("```json\n[1]\n```", "```json\n[1]\n```", []),
    ],
)
def test_an_answer_may_begin_with_a_call_without_markers(
    text: str, said: str, calls: list[ToolCall]
) -> None:
    assert parse_tool_calls(text, "hermes", names=["f", "g"]) == (said, calls)
    assert parse_tool_calls(text, "hermes") == (text, [])


def test_json_that_is_no_call_is_shown_as_soon_as_that_is_known() -> None:
    stream = tool_stream("hermes", constrained=True, names=["f"])
    assert stream.push('{"na') == []
    assert stream.push('me": "my-app"') == [ContentDelta('{"name": "my-app"')]


def test_the_real_models_calls_are_read() -> None:
    read_calls = [
        call.name
        for each in RECORDED
        if each["form"] == "hermes"
        for call in parse_tool_calls(each["text"], "hermes", names=NAMES)[1]
    ]
    weather = ["get_weather", "get_weather"]
    assert read_calls == [*weather, "search", "run_python", "send_mail", *weather, "run_python"]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"a": [1, 2',
        '<tool_call>\n{"name": "f", "arguments": {"a": }}\n</tool_call>',
        '<tool_call>\n{"name": "f"}\n</tool_call>',
        '<tool_call>\n{"name": 1, "arguments": {}}\n</tool_call>',
        "\n<tool_call>\nf(1)\n</tool_call>\n",
        "\n<tool_call>",
        "<tool_call>" * 3,
        "</tool_call>",
        "a < b\n<",
    ],
)
def test_a_malformed_call_stays_content_unchanged(text: str) -> None:
    assert parse_tool_calls(text, "hermes") == (text, [])


@pytest.mark.parametrize("text", ["✿FUNCTION✿:", "✿FUNCTION✿: two words ✿ARGS✿: 1", " ✿ARGS✿: 1"])
def test_a_call_without_a_name_stays_content_unchanged(text: str) -> None:
    assert parse_tool_calls(text, "qwen2") == (text, [])


def test_a_broken_call_does_not_hide_the_next() -> None:
    text = '<tool_call>\n{"name": "f\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    assert parse_tool_calls(text, "hermes") == (
        '<tool_call>\n{"name": "f',
        [ToolCall("g", "{}")],
    )


def test_strings_of_a_call_may_hold_the_markers() -> None:
    arguments = '{"code": "print(\\"</tool_call>\\\\n<tool_call>\\")"}'
    text = f'<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>\nDone.'
    assert parse_tool_calls(text, "hermes") == ("\nDone.", [ToolCall("f", arguments)])


def test_a_call_without_arguments_has_empty_ones_in_qwen2s_form() -> None:
    assert parse_tool_calls("✿FUNCTION✿: f", "qwen2") == ("", [ToolCall("f", "")])


def test_no_part_of_a_marker_is_shown_before_it_is_known_to_be_none() -> None:
    for form, marker in (("hermes", "\n<tool_call>"), ("qwen2", " \n✿FUNCTION✿:")):
        for length in range(1, len(marker)):
            stream = tool_stream(form, constrained=True)
            assert stream.push("x" + marker[:length]) == [ContentDelta("x")]
            assert stream.push("!") == [ContentDelta(marker[:length] + "!")]


def test_a_long_call_arrives_in_single_characters() -> None:
    stream = tool_stream("hermes", constrained=False)
    text = '<tool_call>{"name": "f", "arguments": {"a": "' + "x" * 20_000 + '"}}'
    assert gather(read(stream, list(text)))[1][0].name == "f"
