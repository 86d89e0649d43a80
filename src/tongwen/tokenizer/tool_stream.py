"""Tool calls read from text as it arrives, in the two forms of `tools.py`."""

from collections.abc import Collection

from tongwen.tokenizer.hermes_stream import HermesStream
from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.qwen2_stream import Qwen2Stream
from tongwen.tokenizer.tool_events import ToolStream, gather
from tongwen.tokenizer.tools import ToolForm


def tool_stream(form: ToolForm, *, constrained: bool, names: Collection[str] = ()) -> ToolStream:
    """A reader of one answer.

    Args:
        form: How the model writes calls.
        constrained: Calls are written under a grammar, so that arguments may be reported as they
            come.  Otherwise a call in JSON is held back until it is whole; one that is none, or
            is cut, stays content.  The form of Qwen2 has no wrong arguments: they always come
            at once.
        names: The tools that may be called.  Where they are given, an answer in the form of
            Qwen2.5 that begins with the JSON of such a call is read as the call, also without
            markers and in a fence: Coder models write it so.
    """
    if form == "qwen2":
        return Qwen2Stream()
    return HermesStream(constrained=constrained, names=names)


def parse_tool_calls(
    text: str, form: ToolForm, names: Collection[str] = ()
) -> tuple[str, list[ToolCall]]:
    """Read a finished answer: what it says, and the calls it makes.

    What does not parse as a call stays in the text, as the model wrote it.  `names` as for
    `tool_stream`.
    """
    stream = tool_stream(form, constrained=False, names=names)
    return gather([*stream.push(text), *stream.finish()])
