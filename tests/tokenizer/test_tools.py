import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.chat import FAMILIES, ChatML
from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.tool_stream import parse_tool_calls
from tongwen.tokenizer.tools import ToolForm, qwen2_section

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
# The markers of either form end a call wherever they stand; no escape is defined for them.
MARKERS = ("tool_call>", "✿")
ARGUMENTS = (
    st.dictionaries(st.text(), JSON, max_size=3)
    .map(lambda arguments: json.dumps(arguments, ensure_ascii=False))
    .filter(lambda text: not any(marker in text for marker in MARKERS))
)
CALLS = st.lists(st.builds(ToolCall, st.from_regex(r"[a-z_]{1,9}", fullmatch=True), ARGUMENTS))


@given(calls=CALLS, form=st.sampled_from(["hermes", "qwen2"]), said=st.sampled_from(["", "Hm."]))
def test_rendered_calls_are_parsed_back(
    tokenizer: Tokenizer, calls: list[ToolCall], form: ToolForm, said: str
) -> None:
    chat = ChatML(tokenizer, FAMILIES["qwen2.5" if form == "hermes" else "qwen2"])
    message = {
        "role": "assistant",
        "content": said,
        "tool_calls": [call.as_message() for call in calls],
    }
    text = chat.text([{"role": "user", "content": "x"}, message], add_generation_prompt=False)
    written = text.partition("<|im_start|>assistant\n")[2].removesuffix("<|im_end|>\n")
    assert parse_tool_calls(written, form) == (said, calls)


@pytest.mark.parametrize("form", ["hermes", "qwen2"])
def test_text_without_calls_is_all_content(form: ToolForm) -> None:
    assert parse_tool_calls(" plain\ntext ", form) == (" plain\ntext ", [])


def test_a_call_cut_before_its_end_marker_is_read() -> None:
    text = 'Hm.\n<tool_call>\n{"name": "f", "arguments": {"a": "é"}}'
    assert parse_tool_calls(text, "hermes") == ("Hm.", [ToolCall("f", '{"a": "é"}')])


@pytest.mark.parametrize(
    "inside", ['{"name": "f"', '{"name": "f"}', '["f"]', "f(1)", '{"name": 1, "arguments": {}}']
)
def test_what_does_not_parse_stays_as_it_was_written(inside: str) -> None:
    bad = f"\n<tool_call>\n{inside}\n</tool_call>"
    good = '\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    assert parse_tool_calls(f"a{bad}{good}", "hermes") == (f"a{bad}", [ToolCall("g", "{}")])


def test_arguments_written_as_a_string_are_kept() -> None:
    text = '<tool_call>\n{"name": "f", "arguments": "{\\"a\\": 1}"}\n</tool_call>'
    assert parse_tool_calls(text, "hermes") == ("", [ToolCall("f", '{"a": 1}')])


def test_a_continued_turn_loses_the_colon_that_its_prompt_left_out() -> None:
    assert parse_tool_calls(": It is 5.", "qwen2") == ("It is 5.", [])


def test_calls_between_flowers_end_at_the_result() -> None:
    text = "Hm.\n✿FUNCTION✿: f\n✿ARGS✿: {}\n✿FUNCTION✿: g\n✿ARGS✿: \n```py\n1\n```\n✿RESULT✿: 3"
    assert parse_tool_calls(text, "qwen2") == (
        "Hm.",
        [ToolCall("f", "{}"), ToolCall("g", "```py\n1\n```")],
    )


def test_a_code_interpreter_takes_code() -> None:
    tools = [{"type": "function", "function": {"name": "code_interpreter", "description": "Runs."}}]
    assert "Enclose the code" in qwen2_section(tools, chinese=False, parallel=False)
    assert "Markdown代码块" in qwen2_section(tools, chinese=True, parallel=False)


def test_all_tools_are_named_in_the_rules() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g%s")]
    assert "should be one of [f,g%s]\n" in qwen2_section(tools, chinese=False, parallel=True)
