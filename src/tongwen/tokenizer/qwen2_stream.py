"""Qwen2's own tool calls, read as they arrive: lines that begin with a word between flowers.

The blanks around names and arguments and before a call are dropped.  The markers have no escape:
they end a call wherever they stand.
"""

import re

from tongwen.tokenizer.tool_events import StatefulStream, overlap
from tongwen.tokenizer.tools import ARGS, FUNCTION, RESULT, RETURN

_OPEN, _ARGS = f"{FUNCTION}:", f"{ARGS}:"
_MARKERS = (_OPEN, _ARGS, RESULT, RETURN)
_ENDS = (_OPEN, RESULT, RETURN)
_ANY_MARKER = re.compile("|".join(_MARKERS))
_ANY_END = re.compile("|".join(_ENDS))
# A name, and blanks and what may begin a marker after it.
_NAME_SO_FAR = re.compile(r"[ \t]*[^\s✿]*\s*(?:✿[A-Z]*✿?)?")
_NAME = re.compile(r"[ \t]*([^\s✿]+)\s*")


class Qwen2Stream(StatefulStream):
    """Reads one answer; a `ToolStream`.

    The answer may begin with the colon that the prompt of a continued turn leaves out, and a blank;
    they are dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opening = ""
        self._state = self._start

    def _start(self, final: bool) -> bool:
        """The colon of a continued turn."""
        if not final and self._text in ("", ":"):
            return False
        if self._text.startswith(":"):
            self._text = self._text.removeprefix(":").removeprefix(" ")
        self._state = self._free
        return True

    def _free(self, final: bool) -> bool:
        """Text until a call opens."""
        found = self._text.find(_OPEN)
        if found < 0:
            certain = self._text if final else _certain(self._text, (_OPEN,))
            self._report.content(self._take(len(certain)))
            return False
        said = self._text[:found].rstrip()
        self._report.content(said)
        self._opening = self._take(found + len(_OPEN)).removeprefix(said)
        self._state = self._name
        return True

    def _name(self, final: bool) -> bool:
        """The name of a call, up to its arguments."""
        marker = _ANY_MARKER.search(self._text)
        if marker is None and not final and _NAME_SO_FAR.fullmatch(self._text):
            return False
        end = marker.start() if marker else len(self._text)
        name = _NAME.fullmatch(self._text, 0, end)
        if name is None:
            self._report.content(self._opening)
            self._state = self._free
            return True
        self._report.opened(name[1])
        self._take(end)
        if marker is not None and marker[0] == _ARGS:
            self._take(len(_ARGS))
            self._state = self._lead
        else:
            self._end_call()
        return True

    def _lead(self, final: bool) -> bool:
        """The blanks before the arguments."""
        self._text = self._text.lstrip()
        if not self._text and not final:
            return False
        self._state = self._arguments
        return True

    def _arguments(self, final: bool) -> bool:
        """The arguments, up to the next marker."""
        end = _ANY_END.search(self._text)
        if end is None and not final:
            self._report.arguments(self._take(len(_certain(self._text, _ENDS))))
            return False
        written = self._take(end.start() if end else len(self._text))
        self._report.arguments(written.rstrip())
        self._end_call()
        return True

    def _end_call(self) -> None:
        self._report.closed()
        opens = self._text.startswith(_OPEN)
        self._state = self._free if opens or not self._text else self._results

    def _results(self, final: bool) -> bool:
        """What follows the results of a call, which are its caller's to write."""
        found = self._text.find(_OPEN)
        if found >= 0:
            self._take(found)
            self._state = self._free
            return True
        self._take(len(self._text) - overlap(self._text, (_OPEN,)))
        return False


def _certain(text: str, markers: tuple[str, ...]) -> str:
    """`text` without the blanks and the beginning of a marker at its end."""
    return text[: len(text) - overlap(text, markers)].rstrip()
