"""Which tokens may come next in one completion, by llguidance."""

import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import llguidance
import numpy as np
from numpy.typing import NDArray

from tongwen.errors import RequestError
from tongwen.tokenizer.bpe import Tokenizer, byte_alphabet

Mask = NDArray[np.uint32]
"""One bit for each row of the logits, row 0 the lowest bit of the first word."""

MASK_S = 0.25
"""A mask that takes longer, in processor time, ends its request: the others wait meanwhile."""

_LIMITS = llguidance.LLParserLimits(
    max_items_in_row=5_000, max_lexer_states=50_000, verbose_errors=False
)


@runtime_checkable
class Matcher(Protocol):
    """What one completion may go on with.

    An error of any method ends this completion and touches no other.
    """

    @property
    def is_finished(self) -> bool:
        """Whether nothing may follow but the end, or the end was accepted."""
        ...

    def mask(self) -> Mask | None:
        """The tokens that may come next; `None`: any.  Not to be written to.

        Raises:
            RequestError: None may, or the grammar has outgrown its limits.
        """
        ...

    def accept(self, token_id: int) -> None:
        """Take the next token.

        Raises:
            RequestError: It may not come next.
        """
        ...

    def validate(self, token_ids: Sequence[int]) -> int:
        """How many of these tokens may come next, one after the other; none is accepted."""
        ...

    def rollback(self, num_tokens: int) -> None:
        """Take back the last tokens that were accepted."""
        ...

    def forced(self) -> list[int]:
        """Tokens that must come next, often none: a draft that is never rejected."""
        ...


class TokenTable:
    """A vocabulary as grammars see it; each part is made when first used.

    Args:
        tokenizer: The vocabulary.
        num_rows: Rows of the logits, padding included.
        eos_token_ids: Tokens that end a completion.

    Raises:
        RequestError: No token ends a completion.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, num_rows: int, eos_token_ids: Sequence[int]
    ) -> None:
        if not eos_token_ids:
            raise RequestError("no token of this vocabulary ends a completion, as a grammar must")
        self.tokenizer, self.num_rows = tokenizer, num_rows
        self.eos_token_ids = tuple(eos_token_ids)
        self.num_words = -(-num_rows // 32)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of each row of the logits; rows of padding have none."""
        tokenizer = self.tokenizer
        padding = [b""] * max(self.num_rows - tokenizer.num_tokens, 0)
        return [*map(tokenizer.token_bytes, range(tokenizer.num_tokens)), *padding]

    @cached_property
    def guidance(self) -> llguidance.LLTokenizer:
        """The vocabulary as llguidance holds it, its control tokens apart from ordinary text."""
        wrapper = llguidance.TokenizerWrapper(_Encoder(self))
        return llguidance.LLTokenizer(wrapper, eos_token=list(self.eos_token_ids))

    @cached_property
    def ends(self) -> Mask:
        """The mask of the tokens that end a completion."""
        rows = np.zeros(self.num_words * 32, dtype=bool)
        rows[list(self.eos_token_ids)] = True
        return np.packbits(rows, bitorder="little").view(np.uint32)

    def mask_without(self, token_ids: Iterable[int]) -> Mask:
        """The mask of every token but these and padding."""
        rows = np.zeros(self.num_words * 32, dtype=bool)
        rows[: min(self.num_rows, self.tokenizer.num_tokens)] = True
        rows[list(token_ids)] = False
        return np.packbits(rows, bitorder="little").view(np.uint32)

    def starting_with(self, start: bytes) -> list[int]:
        """The tokens whose bytes begin so; `start` is not empty."""
        return [
            token_id
            for token_id in self._by_first_byte.get(start[0], ())
            if self.token_bytes[token_id].startswith(start)
        ]

    @cached_property
    def _by_first_byte(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for token_id, token in enumerate(self.token_bytes):
            if token:
                found.setdefault(token[0], []).append(token_id)
        return found


def compile_text(guidance: llguidance.LLTokenizer, grammar: str) -> llguidance.LLMatcher:
    """A grammar in the words of llguidance, compiled; it tells its errors when asked for them."""
    return llguidance.LLMatcher(guidance, grammar, log_level=0, limits=_LIMITS)


class GrammarMatcher:
    """A `Matcher` of one grammar.

    The token that ends a completion is seen to here: llguidance forgets it.

    Args:
        table: The vocabulary.
        matcher: A matcher at its beginning; this object keeps it.
    """

    def __init__(self, table: TokenTable, matcher: llguidance.LLMatcher) -> None:
        self._table, self._matcher = table, matcher
        self._has_ended = False
        self.num_accepted = 0

    @property
    def is_finished(self) -> bool:
        """Whether nothing may follow but the end, or the end was accepted."""
        return self._has_ended or (self._matcher.is_stopped() and not self._matcher.is_error())

    def mask(self) -> Mask:
        """The tokens that may come next."""
        if self._has_ended:
            return self._table.ends
        started_s = time.thread_time()
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint32)[: self._table.num_words]
        taken_s = time.thread_time() - started_s
        self._check()
        if taken_s > MASK_S:
            raise RequestError(
                f"the grammar took {taken_s * 1000:.0f} ms to find the tokens that may follow; "
                f"at most {MASK_S * 1000:.0f} ms are given"
            )
        return mask

    def accept(self, token_id: int) -> None:
        """Take the next token."""
        if token_id in self._table.eos_token_ids:
            if not (self._has_ended or self._matcher.is_accepting()):
                raise RequestError("the completion ended before its grammar did")
            self._has_ended = True
        elif self._has_ended or self._matcher.try_consume_tokens([token_id]) != 1:
            self._check()
            raise RequestError(f"the grammar does not allow token `{token_id}` here")
        self.num_accepted += 1

    def validate(self, token_ids: Sequence[int]) -> int:
        """How many of these tokens may come next, one after the other."""
        if self._has_ended:
            return 0
        ends = self._table.eos_token_ids
        before = next((place for place, token in enumerate(token_ids) if token in ends), None)
        num_valid = self._matcher.validate_tokens(list(token_ids[:before]))
        if before is None or num_valid < before:
            return num_valid
        return before + self._may_end_after(token_ids[:before])

    def rollback(self, num_tokens: int) -> None:
        """Take back the last tokens that were accepted."""
        assert 0 <= num_tokens <= self.num_accepted, "only what was accepted is taken back"
        if num_tokens == 0:
            return
        self.num_accepted -= num_tokens
        num_tokens -= self._has_ended
        self._has_ended = False
        self._matcher.rollback(num_tokens)
        self._check()

    def forced(self) -> list[int]:
        """Tokens that must come next."""
        return [] if self.is_finished else self._matcher.compute_ff_tokens()

    def copy(self) -> "GrammarMatcher":
        """A matcher of its own in the same place; takes microseconds."""
        twin = GrammarMatcher(self._table, self._matcher.deep_copy())
        twin._has_ended, twin.num_accepted = self._has_ended, self.num_accepted
        return twin

    def _may_end_after(self, token_ids: Sequence[int]) -> bool:
        twin = self._matcher.deep_copy()
        return twin.consume_tokens(list(token_ids)) and twin.is_accepting()

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        if self._matcher.get_error().startswith("NoExtension"):
            raise RequestError("no text satisfies the grammar from here on")
        reason = self._matcher.get_error().partition("\n")[0]
        raise RequestError(f"the grammar cannot go on: {reason}")


def masks(matcher: Matcher, draft: Sequence[int]) -> list[Mask | None]:
    """The masks before each token of a draft and after the last, as far as they may come.

    The matcher is left where it was.  The first mask is that of `matcher.mask()`; one more follows
    for each token that the grammar allows.

    Raises:
        RequestError: As for `Matcher.mask`, at the first place; further on the list ends there.
    """
    found = [matcher.mask()]
    taken = 0
    try:
        for token_id in draft[: matcher.validate(draft)]:
            matcher.accept(token_id)
            taken += 1
            if matcher.is_finished:
                break
            found.append(matcher.mask())
    except RequestError:
        pass
    matcher.rollback(taken)
    return found


def unpack(mask: Mask, num_rows: int) -> NDArray[np.bool_]:
    """A mask as one truth value for each row of the logits."""
    bits = np.unpackbits(mask.view(np.uint8), count=num_rows, bitorder="little")
    return bits.view(np.bool_)


class _Encoder:
    """What llguidance asks of a tokenizer, in its names."""

    def __init__(self, table: TokenTable) -> None:
        tokenizer = table.tokenizer
        self._tokenizer = tokenizer
        self.eos_token_id = table.eos_token_ids[0]
        self.bos_token_id = None
        self.tokens = table.token_bytes
        padding = range(tokenizer.num_tokens, len(table.token_bytes))
        self.special_token_ids = [*sorted(tokenizer.control.values()), *padding]

    def __call__(self, raw: bytes) -> list[int]:
        """Ids of UTF-8 text; one for each byte where normalising would change the text."""
        token_ids = self._tokenizer.encode(raw.decode())
        if b"".join(map(self._tokenizer.token_bytes, token_ids)) == raw:
            return token_ids
        alphabet = byte_alphabet()
        ids = [self._tokenizer.id_of(alphabet[byte]) for byte in raw]
        return [token_id for token_id in ids if token_id is not None]
