"""Markdown on a terminal, while it is being written.

What is printed stays printed: nothing is erased or drawn again, so that what scrolled away is
right.  Hence only so much is held back as must be known to print it: a word until it ends, a bold
span or a piece of code in a line until it closes (or the line ends without, and its marks are
text), a line of a code block until its end.  Tables and formulas stay as they are written.
"""

import re
import unicodedata
from typing import Protocol, runtime_checkable

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text

from tongwen.cli.terminal import visible

# What may still become the opening of a block when more of the line is there.
_MAYBE_OPENING = re.compile(r"[ \t]*(?:#{0,6}|[-*_+]+|[0-9]{1,3}[.)]?|`+|~+|>)?[ \t]*")
_FENCE = re.compile(r"( *)(`{3,}|~{3,})[ ]*([\w+#.-]*)[^`]*")
_RULE = re.compile(r" *([-*_])(?: *\1){2,} *")
_OPENING = re.compile(r"( *)(#{1,6}|[-*+]|[0-9]{1,3}[.)]|>) +")

# A span that is complete: code, strong, emphasis.  A single `*` needs the character after it.
_SPAN = re.compile(
    r"(?<!`)(?P<ticks>`+)(?!`)(?P<code>(?:(?!(?P=ticks)).)+)(?P=ticks)(?!`)"
    r"|\*\*(?=[^\s*])(?P<strong>(?:(?!\*\*).)*[^\s*]\*?)\*\*"
    r"|\*(?=[^\s*])(?P<emphasis>[^*]*[^\s*])\*(?!\*)"
)
_MARK = re.compile(r"`+|\*+")
_MAX_HELD = 400
_MAX_HIGHLIGHTED = 400  # lines of a block; each is coloured by all before it

_DIM, _CODE = Style(dim=True), Style(color="cyan")
_STRONG, _EMPHASIS = Style(bold=True), Style(italic=True)
_HEADING, _PLAIN = Style(bold=True, color="magenta"), Style()


@runtime_checkable
class Sink(Protocol):
    """Where the text of an answer goes, piece by piece."""

    def push(self, text: str) -> None:
        """Take what was written next."""
        ...

    def finish(self) -> None:
        """Print what was held back, and end the line."""
        ...


class MarkdownSink:
    """Prints Markdown with the styles that it asks for.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._words = _Words(console)
        self._head, self._rest = "", ""
        self._in_line = False
        self._before = ""  # the last character that was printed of the line
        self._style = _PLAIN
        self._block: _CodeBlock | None = None

    def push(self, text: str) -> None:
        """Take what was written next; prints what has become certain."""
        *lines, last = visible(text).split("\n")
        for line in lines:
            self._write(line)
            self._end_line()
        self._write(last)
        self.console.file.flush()

    def finish(self) -> None:
        """Print what was held back, and end the line."""
        if self._head or self._rest or self._words.column or self._in_line:
            self._end_line()
        self.console.file.flush()

    def _write(self, part: str) -> None:
        """Take a part of a line that has no end in it."""
        if not self._in_line or self._block:
            self._head += part
            if self._block or self._may_be_opening():
                return
            self._open_line()
        else:
            self._rest += part
        self._print_certain(is_whole=False)

    def _may_be_opening(self) -> bool:
        fenced = self._head.lstrip(" ").startswith(("```", "~~~"))
        return fenced or _MAYBE_OPENING.fullmatch(self._head) is not None

    def _open_line(self) -> None:
        """Print how a line begins, and go on with its text."""
        self._in_line, self._before, self._style = True, "", _PLAIN
        self._rest, self._head = self._head, ""
        self._words.wraps = not self._rest.lstrip().startswith("|")
        opening = _OPENING.match(self._rest)
        if opening is None:
            return
        indent, mark = opening[1], opening[2]
        self._rest = self._rest[opening.end() :]
        if mark.startswith("#"):
            self._style = _HEADING
            return
        shown = {"-": "•", "*": "•", "+": "•", ">": "│"}.get(mark, mark)
        self._words.indent = f"{indent}{'│' if mark == '>' else ' ' * len(shown)} "
        self._words.lead(f"{indent}{shown} ", _DIM)

    def _end_line(self) -> None:
        if self._block:
            self._end_code_line()
            return
        if not self._in_line:
            if fence := _FENCE.fullmatch(self._head):
                self._print_line(Text(self._head, _DIM))
                self._block = _CodeBlock(fence[2], fence[3], len(fence[1]))
                self._head = ""
                return
            if _RULE.fullmatch(self._head):
                self._print_line(Text(self._head, _DIM))
                self._head = ""
                return
            self._open_line()
        self._print_certain(is_whole=True)
        self._words.end_line()
        self._in_line, self._rest = False, ""

    def _end_code_line(self) -> None:
        assert self._block is not None, "a line of code lies in a block"
        line, self._head = self._head, ""
        if self._block.is_closed_by(line):
            self._print_line(Text(line, _DIM))
            self._block = None
        else:
            self._print_line(self._block.highlighted(line))

    def _print_line(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)

    def _print_certain(self, *, is_whole: bool) -> None:
        """Print the part of the line whose meaning cannot change any more."""
        while self._rest:
            mark = _MARK.search(self._rest)
            if mark is None:
                self._take(len(self._rest), self._style)
                return
            self._take(mark.start(), self._style)
            span = self._span(mark[0])
            if span and (is_whole or span.end() < len(self._rest)):
                self._words.add_spans(span, self._style)
                self._rest, self._before = self._rest[span.end() :], span[0][-1]
            elif is_whole or len(self._rest) > _MAX_HELD:
                self._take(len(mark[0]), self._style)  # never closed: it is text
            elif self._is_product(mark[0]) and len(mark[0]) < len(self._rest):
                self._take(len(mark[0]), self._style)
            else:
                return

    def _span(self, mark: str) -> re.Match[str] | None:
        return None if self._is_product(mark) else _SPAN.match(self._rest)

    def _is_product(self, mark: str) -> bool:
        """Whether stars stand for arithmetic: `2**n`; between Chinese characters they are marks."""
        return mark[0] == "*" and self._before.isascii() and self._before.isalnum()

    def _take(self, length: int, style: Style) -> None:
        if length:
            self._words.add(self._rest[:length], style)
            self._rest, self._before = self._rest[length:], self._rest[length - 1]


class _CodeBlock:
    """A block of code between fences, highlighted line by line."""

    def __init__(self, fence: str, language: str, indent: int) -> None:
        self.fence, self.indent = fence, indent
        self.lines: list[str] = []
        self.syntax = Syntax("", language or "text", theme="ansi_dark", background_color="default")

    def is_closed_by(self, line: str) -> bool:
        """Whether the line is the closing fence: at least as long as the opening one."""
        bare = line.strip()
        return len(bare) >= len(self.fence) and set(bare) == {self.fence[0]}

    def highlighted(self, line: str) -> Text:
        """The line, coloured by all lines before it: a string may have begun there."""
        self.lines.append(line)
        if len(self.lines) > _MAX_HIGHLIGHTED:
            return Text(line)
        shown = self.syntax.highlight("\n".join(self.lines))
        last = shown.split("\n", allow_blank=True)
        return last[len(self.lines) - 1] if len(last) >= len(self.lines) else Text(line)


class _Words:
    """Prints words, beginning a new row where one does not fit the terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.column = 0
        self.indent = ""
        self.wraps = True
        self._word: list[tuple[str, Style]] = []
        self._cells = 0

    def lead(self, text: str, style: Style) -> None:
        """Print what a line begins with."""
        self._print(text, style)

    def add_spans(self, span: re.Match[str], style: Style) -> None:
        """Add a span and the spans inside of it."""
        if span["code"] is not None:
            self.add(span["code"], style + _CODE)
            return
        inner = span["strong"] if span["strong"] is not None else span["emphasis"]
        style += _STRONG if span["strong"] is not None else _EMPHASIS
        at = 0
        for nested in _SPAN.finditer(inner):
            self.add(inner[at : nested.start()], style)
            self.add_spans(nested, style)
            at = nested.end()
        self.add(inner[at:], style)

    def add(self, text: str, style: Style) -> None:
        """Add text; its last word is held until it ends."""
        for piece in re.split(r"( +|\t)", text):
            if not piece or piece[0] in " \t":
                self._space(piece)
            else:
                self._letters(piece, style)

    def end_line(self) -> None:
        """Print the last word and end the row."""
        self._flush()
        self.console.print()
        self.column, self.indent, self.wraps = 0, "", True

    def _letters(self, piece: str, style: Style) -> None:
        """Add part of a word; between wide characters (Chinese, Japanese) a row may end too."""
        start = 0
        for place, character in enumerate(piece):
            is_wide = cell_len(character) == 2
            if is_wide and not unicodedata.category(character).startswith(("P", "M")):
                self._hold(piece[start:place], style)
                start = place
                if not self._ends_open():
                    self._flush()
        self._hold(piece[start:], style)

    def _hold(self, text: str, style: Style) -> None:
        if text:
            self._word.append((text, style))
            self._cells += cell_len(text)
            if self._cells >= self.console.width:
                self._flush()  # it fits no row: no use in holding it

    def _ends_open(self) -> bool:
        """Whether the held word ends in an opening bracket or quote, which stays with the next."""
        return bool(self._word) and unicodedata.category(self._word[-1][0][-1]) in ("Ps", "Pi")

    def _space(self, space: str) -> None:
        if not space:
            return
        self._flush()
        room = self.console.width - 1 - self.column
        # Space that does not fit is dropped one by one: it may arrive in pieces.
        self._print(space[: max(room, 0)] if self.wraps else space, _PLAIN)

    def _flush(self) -> None:
        if not self._word:
            return
        if self.wraps and self.column + self._cells >= self.console.width and self.column:
            self.console.print()
            self.column = 0
            self._print(self.indent, _DIM)
        for text, style in self._word:
            self._print(text, style)
        self._word, self._cells = [], 0

    def _print(self, text: str, style: Style) -> None:
        if text:
            self.console.print(Text(text, style), end="", soft_wrap=True)
            self.column += cell_len(text)


class PlainSink:
    """Prints text as it was written; a terminal gets no character that would drive it.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._ends_line = True

    def push(self, text: str) -> None:
        """Print what was written next."""
        if text:
            self.console.file.write(visible(text) if self.console.is_terminal else text)
            self.console.file.flush()
            self._ends_line = text.endswith("\n")

    def finish(self) -> None:
        """End the line."""
        if not self._ends_line:
            self.push("\n")


def sink_for(console: Console, *, shows_marks: bool) -> Sink:
    """Where an answer goes: styled on a terminal, where that is wanted, else as it comes."""
    is_plain = not console.is_terminal or console.is_dumb_terminal
    return PlainSink(console) if is_plain or not shows_marks else MarkdownSink(console)
