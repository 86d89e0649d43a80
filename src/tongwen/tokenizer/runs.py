"""Text written piece by piece into token ids, a loss mask and the same text whole.

What lies between two control tokens is one run: it is joined before it is normalised and encoded,
so ids do not depend on the pieces.  Only markup may contain control tokens.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tongwen.tokenizer.bpe import Tokenizer


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as the model reads it."""

    token_ids: list[int]
    """Every token, control tokens included."""

    loss_mask: list[bool]
    """True where the assistant wrote the token: what a model is trained on."""


class Runs:
    """The stream under construction.

    Args:
        tokenizer: Encodes each run.

    Attributes:
        trained: Whether the loss covers what is written now; set by `train`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._token_ids: list[int] = []
        self._loss_mask: list[bool] = []
        self._run: list[str] = []
        self._pieces: list[str] = []
        self.trained = False
        self._edge: int | None = None

    def markup(self, text: str) -> None:
        """Write the renderer's own text; control strings in it become control tokens."""
        for part, is_control in self._tokenizer.split_control(text):
            if is_control:
                self.cut()
                self._put([self._tokenizer.control[part]])
            else:
                self._run.append(part)
        self._pieces.append(text)

    def plain(self, text: str) -> None:
        """Write someone else's text, in which no string is a control token."""
        self._run.append(text)
        self._pieces.append(text)

    def ids(self, token_ids: Sequence[int]) -> None:
        """Write ids as they are, a run of their own.

        Raises:
            TokenizerError: An id is unknown.
        """
        self.cut()
        self._pieces.append(self._tokenizer.decode(token_ids))
        self._put(token_ids)

    def cut(self) -> None:
        """End the run here: what follows is encoded apart, as generation would meet it."""
        pieces, self._run = self._run, []
        edge, self._edge = self._edge, None
        token_ids = self._tokenizer.encode("".join(pieces))
        if edge is None:
            self._put(token_ids)
        else:
            self._put_faded(token_ids, "".join(pieces[:edge]))

    def train(self, trained: bool) -> None:
        """Whether the loss covers what follows; a change ends the run."""
        if trained is not self.trained:
            self.cut()
            self.trained = trained

    def fade(self) -> None:
        """End what the loss covers without ending the run; a token across the edge is covered."""
        self._edge, self.trained = len(self._run), False

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self._pieces)

    def finish(self) -> Rendered:
        """The stream, its last run included."""
        self.cut()
        return Rendered(self._token_ids, self._loss_mask)

    def _put_faded(self, token_ids: Sequence[int], covered: str) -> None:
        left = len(unicodedata.normalize("NFC", covered).encode())
        for token_id in token_ids:
            self._token_ids.append(token_id)
            self._loss_mask.append(left > 0)
            left -= len(self._tokenizer.token_bytes(token_id))

    def _put(self, token_ids: Sequence[int]) -> None:
        self._token_ids += token_ids
        self._loss_mask += [self.trained] * len(token_ids)
