"""What a reader of tool calls reports, whatever the form in which the model writes them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tongwen.tokenizer.messages import ToolCall


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """Text that is no part of a call."""

    text: str
    """Never empty."""


@dataclass(frozen=True, slots=True)
class CallOpened:
    """A call begins; a server gives it an id here."""

    index: int
    """Which call of the answer it is, from 0."""

    name: str
    """The function's name, whole."""


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """The next piece of the arguments of the open call."""

    index: int
    """Which call of the answer it is."""

    text: str
    """A piece of JSON text, as the model wrote it; never empty."""


@dataclass(frozen=True, slots=True)
class CallClosed:
    """The open call ends."""

    index: int
    """Which call of the answer it is."""

    complete: bool = True
    """Whether the arguments reached their end; false where the answer was cut inside them."""


ToolEvent = ContentDelta | CallOpened | ArgumentsDelta | CallClosed
"""What a stream of text turns out to hold."""


@runtime_checkable
class ToolStream(Protocol):
    """Reads an answer piece by piece.

    The events, their texts joined, depend on the text alone and not on the pieces in which it
    arrives, and no part of a marker is ever reported as content before it is known to be none.
    """

    def push(self, text: str) -> list[ToolEvent]:
        """What this text makes certain."""
        ...

    def finish(self) -> list[ToolEvent]:
        """What was held back; the answer is over."""
        ...


class Report:
    """The events since the last reading, and the number of calls so far."""

    def __init__(self) -> None:
        self._events: list[ToolEvent] = []
        self.index = -1

    def content(self, text: str) -> None:
        """Report text, if there is any."""
        if text:
            self._events.append(ContentDelta(text))

    def opened(self, name: str) -> None:
        """Report the next call."""
        self.index += 1
        self._events.append(CallOpened(self.index, name))

    def arguments(self, text: str) -> None:
        """Report a piece of the open call's arguments, if there is any."""
        if text:
            self._events.append(ArgumentsDelta(self.index, text))

    def closed(self, *, complete: bool = True) -> None:
        """Report the end of the open call."""
        self._events.append(CallClosed(self.index, complete))

    def call(self, call: ToolCall) -> None:
        """Report a call that is known whole."""
        self.opened(call.name)
        self.arguments(call.arguments)
        self.closed()

    def take(self) -> list[ToolEvent]:
        """The events since this was last asked."""
        events, self._events = self._events, []
        return events


class StatefulStream:
    """What the readers of both forms share: text that is held, and a state that takes from it.

    A state is told whether the answer is over; it takes what is certain and says whether the next
    state (often itself) can go on with the rest.
    """

    _state: Callable[[bool], bool]

    def __init__(self) -> None:
        self._report = Report()
        self._text = ""

    def push(self, text: str) -> list[ToolEvent]:
        """What this text makes certain."""
        self._text += text
        return self._run(final=False)

    def finish(self) -> list[ToolEvent]:
        """What was held back; the answer is over."""
        return self._run(final=True)

    def _run(self, *, final: bool) -> list[ToolEvent]:
        while self._state(final):
            pass
        return self._report.take()

    def _take(self, length: int) -> str:
        taken, self._text = self._text[:length], self._text[length:]
        return taken


def gather(events: Iterable[ToolEvent]) -> tuple[str, list[ToolCall]]:
    """The content and the calls that some events add up to."""
    said: list[str] = []
    names: list[str] = []
    arguments: list[str] = []
    for event in events:
        match event:
            case ContentDelta(text):
                said.append(text)
            case CallOpened(_, name):
                names.append(name)
                arguments.append("")
            case ArgumentsDelta(index, text):
                arguments[index] += text
    return "".join(said), [ToolCall(*call) for call in zip(names, arguments, strict=True)]


def overlap(text: str, markers: Iterable[str]) -> int:
    """Length of the longest end of `text` that begins one of `markers` without being all of it."""
    lengths = (
        length
        for marker in markers
        for length in range(min(len(marker) - 1, len(text)), 0, -1)
        if text.endswith(marker[:length])
    )
    return max(lengths, default=0)
