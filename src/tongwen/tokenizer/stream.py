"""Token ids in, text out as soon as it is certain; and stop strings over such a stream."""

import codecs
from collections.abc import Sequence

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer


class TextStream:
    """Decode one token at a time.

    Bytes that may begin a character are held back until it is whole or cannot become so; what is
    pushed and finished, joined, is exactly `Tokenizer.decode` of all ids.  A push costs the length
    of its token, whatever came before.

    Args:
        tokenizer: Whose ids these are.
        skip_control: Leave the `special` control tokens out, as `decode` does.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_control: bool = False) -> None:
        self._tokenizer, self._skip_control = tokenizer, skip_control
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Text that this token makes certain, often none.

        Raises:
            TokenizerError: The id is not of this vocabulary nor of its padding rows.
        """
        if self._skip_control and self._tokenizer.is_special(token_id):
            return ""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """What was held back, as U+FFFD; the stream then begins anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


class StopStrings:
    """Cut a stream of text where the first of some strings is complete.

    The stop string whose last character comes first wins; of those that end together the longest.
    So the cut depends on the text alone and not on the pieces in which it arrives.

    Args:
        stops: The strings; none of them empty.

    Attributes:
        matched: The stop string that ended the stream, or `None`.

    Raises:
        TokenizerError: A stop string is empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise TokenizerError("a stop string is empty")
        self.stops = tuple(stops)
        self.matched: str | None = None
        self._held = ""
        self._longest = max(map(len, self.stops), default=0)

    def push(self, text: str) -> str:
        """Text that can no longer be part of a stop string; nothing after a match."""
        if self.matched is not None:
            return ""
        text = self._held + text
        ends = [
            (text.find(stop) + len(stop), -len(stop), stop) for stop in self.stops if stop in text
        ]
        if ends:
            end, _, self.matched = min(ends)
            self._held = ""
            return text[: end - len(self.matched)]
        certain = len(text) - self._overlap(text)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """What was held back and turned out to begin no stop string."""
        rest, self._held = self._held, ""
        return rest

    def _overlap(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.stops):
                return length
        return 0
