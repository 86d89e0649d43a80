"""Markdown on a terminal: what is shown does not depend on how it arrives."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tongwen.cli.render import MarkdownSink, PlainSink

COLOURS = re.compile(r"\x1b\[[0-9;]*m")

PIECES = st.lists(
    st.sampled_from(
        ["a", "word ", "**", "*", "`", "``", "```", "\n", "# ", "- ", "1. ", "> ", "| ", "---",
         "  ", "你好", "，", "（", "😀", "\t", "\x1b[2J", "\r", "é", "python", "~~~", "def f():"]
    ),
    max_size=40,
)  # fmt: skip


def shown(*pieces: str, width: int = 40, colours: bool = False) -> str:
    """What a terminal of this width is sent."""
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, color_system="standard" if colours else None
    )
    sink = MarkdownSink(console)
    for piece in pieces:
        sink.push(piece)
    sink.finish()
    return out.getvalue()


def bare(text: str) -> str:
    return COLOURS.sub("", text)


@settings(max_examples=150, deadline=None)
@given(PIECES)
def test_what_is_shown_does_not_depend_on_the_pieces(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert bare(shown(*pieces)) == bare(shown(*whole)) == bare(shown(whole))


@settings(max_examples=150, deadline=None)
@given(PIECES)
def test_nothing_but_colours_reaches_the_terminal(pieces: list[str]) -> None:
    out = bare(shown(*pieces, colours=True))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)


@pytest.mark.parametrize(
    "text",
    [
        "2**3 and 4*5*6 stay",
        "call(*args, **kwargs) stays",
        "an unclosed ` tick",
        "snake_case_name __init__",
        "a | b",
        "5 * 3 * 2",
        "$x^2$ and \\(y\\)",
    ],
)
def test_marks_that_close_nothing_are_text(text: str) -> None:
    assert bare(shown(text, width=80)) == text + "\n"


@pytest.mark.parametrize(
    ("text", "styled"),
    [
        ("**bold**", "\x1b[1mbold"),
        ("*em*", "\x1b[3mem"),
        ("`x`", "\x1b[36mx"),
        ("# Head", "\x1b[1;35mHead"),
        ("这是**重点**内容", "\x1b[1m重"),
        ("**a `b` c**", "\x1b[1;36mb"),
    ],
)
def test_marks_that_close_are_styles(text: str, styled: str) -> None:
    out = shown(text, colours=True)
    assert styled in out
    assert "*" not in bare(out)
    assert "`" not in bare(out)


def test_code_is_highlighted_by_its_language_and_keeps_its_text() -> None:
    text = 'See:\n```python\ndef f():\n    """Two\n    lines."""\n\n    return 1\n```\nDone.'
    out = shown(text, colours=True, width=200)
    assert bare(out) == text + "\n"
    keyword, string = (
        re.search(r"\x1b\[([0-9;]+)mdef", out),
        re.search(r"\x1b\[([0-9;]+)m +lines", out),
    )
    assert keyword is not None
    assert string is not None  # coloured, though the string began a line before
    assert keyword[1] != string[1]


def test_stars_in_code_are_no_marks() -> None:
    assert bare(shown("```\na ** b ** c\n```")) == "```\na ** b ** c\n```\n"


def test_a_line_of_code_is_not_wrapped() -> None:
    code = "x = " + " + ".join("abcdef")
    assert bare(shown(f"```\n{code}\n```", width=10)) == f"```\n{code}\n```\n"


def test_prose_is_wrapped_between_words_and_list_items_are_indented() -> None:
    out = bare(shown("- one two three four five six", width=14))
    assert out == "• one two \n  three four \n  five six\n"


def test_chinese_is_wrapped_between_characters_and_not_before_a_full_stop() -> None:
    rows = bare(shown("字" * 9 + "。" + "字" * 9, width=20)).splitlines()
    assert "".join(rows) == "字" * 9 + "。" + "字" * 9
    assert not any(row.startswith("。") for row in rows)


def test_nothing_is_printed_twice_or_erased() -> None:
    out = shown("one **two", " three**", " `four`\nfive", colours=True)
    assert not re.search(r"\x1b\[[0-9;]*[A-LN-Za-ln-z]|\r|\x08", out)
    assert bare(out) == "one two three four\nfive\n"


def test_a_table_stays_as_it_is_written() -> None:
    table = "| name | what it is |\n|---|---|\n| a long cell | another long cell |"
    assert bare(shown(table, width=20)) == table + "\n"


def test_a_pipe_gets_the_text_as_it_is() -> None:
    out = io.StringIO()
    sink = PlainSink(Console(file=out))
    for piece in ("**bold** \x1b[31mred", "\x07 end"):
        sink.push(piece)
    sink.finish()
    assert out.getvalue() == "**bold** \x1b[31mred\x07 end\n"


def test_a_plain_terminal_gets_no_control_characters() -> None:
    out = io.StringIO()
    sink = PlainSink(Console(file=out, force_terminal=True))
    sink.push("**a** \x1b[31m\n")
    sink.finish()
    assert out.getvalue() == "**a** \\x1b[31m\n"
