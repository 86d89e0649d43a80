"""Tool calls read from text as it arrives, in the two forms of `tools.py`."""

from tongwen.tokenizer.hermes_stream import HermesStream
from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.qwen2_stream import Qwen2Stream
from tongwen.tokenizer.tool_events import ToolStream, gather
from tongwen.tokenizer.tools import ToolForm


def tool_stream(form: ToolForm, *, constrained: bool) -> ToolStream:
    """A reader of one answer.

    Args:
        form: How the model writes calls.
        constrained: Calls are written under a grammar, so that arguments may be reported as they
            come.  Otherwise a call in JSON is held back until it is whole; one that is none, or
            is cut, stays content.  The form of Qwen2 has no wrong arguments: they always come
            at once.
    """
    return HermesStream(constrained=constrained) if form == "hermes" else Qwen2Stream()


def parse_tool_calls(text: str, form: ToolForm) -> tuple[str, list[ToolCall]]:
    """Read a finished answer: what it says, and the calls it makes.

    What does not parse as a call stays in the text, as the model wrote it.
    """
    stream = tool_stream(form, constrained=False)
    return gather([*stream.push(text), *stream.finish()])
