"""Free text in which tool calls open: anything may come, until a call has begun.

While text is free there is no mask, and so no cost.  From the marker of a call to its end the
grammar of calls holds.  A token that would run over the end of the marker is kept out, so that a
call begins where a token does; the vocabulary of Qwen2.5 has the marker as one token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tongwen.engine.matcher import GrammarMatcher, Mask, TokenTable
from tongwen.errors import RequestError


class Openings:
    """Masks that keep tokens from completing a marker where they should not.

    Args:
        table: The vocabulary.
        marker: The text that opens a call.
        may_open: Whether it may be completed, by the end of a token; otherwise it may not at all.
    """

    def __init__(self, table: TokenTable, marker: bytes, *, may_open: bool) -> None:
        self._table, self.marker, self._may_open = table, marker, may_open
        tokens = enumerate(table.token_bytes)
        self._whole = [token_id for token_id, token in tokens if self._breaks(token)]
        starts = [marker[:n] for n in range(len(marker))]
        self._masks = {begun: self._find(begun) for begun in starts}

    def mask(self, tail: bytes) -> Mask | None:
        """The tokens that may follow text that ends in `tail`; `None`: any."""
        return self._masks[self.begun(tail)]

    def begun(self, tail: bytes) -> bytes:
        """The longest end of `tail` that begins the marker."""
        ends = (tail[-n:] for n in range(min(len(self.marker), len(tail)), 0, -1))
        return next(filter(self._is_begun, ends), b"")

    def _find(self, begun: bytes) -> Mask | None:
        rests = [self.marker[n:] for n in range(1, len(begun) + 1) if self._is_begun(begun[-n:])]
        followers = {token for rest in rests for token in self._table.starting_with(rest)}
        tokens = self._table.token_bytes
        broken = [token for token in followers if self._breaks(begun + tokens[token])]
        broken += self._whole
        return self._table.mask_without(broken) if broken else None

    def _is_begun(self, text: bytes) -> bool:
        return len(text) < len(self.marker) and self.marker.startswith(text)

    def _breaks(self, text: bytes) -> bool:
        found = text.find(self.marker)
        if found < 0:
            return False
        return not self._may_open or found + len(self.marker) < len(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallRules:
    """When a call opens, and what follows."""

    openings: Openings
    """The marker that opens a call, and the masks around it."""

    first: GrammarMatcher | None
    """A matcher behind the marker, of which each call gets a copy; `None`: no call may open."""

    parallel: bool
    """Whether another call may open after one."""


class _State(NamedTuple):
    """Where a completion stands."""

    tail: bytes
    """The last bytes of free text that may begin the marker."""

    call: GrammarMatcher | None
    """The matcher of the open call."""

    num_in_call: int
    """Tokens that it has accepted."""

    has_ended: bool
    """Whether nothing more may come."""


class ToolMatcher:
    """A `Matcher` of free text and calls.

    Args:
        table: The vocabulary.
        rules: When a call opens, and what follows; shared by all completions.
    """

    def __init__(self, table: TokenTable, rules: CallRules) -> None:
        self._table, self._rules, self._openings = table, rules, rules.openings
        self._states = [_State(b"", None, 0, False)]

    @property
    def is_finished(self) -> bool:
        """Whether nothing may follow but the end, or the end was accepted."""
        return self._states[-1].has_ended

    def mask(self) -> Mask | None:
        """The tokens that may come next; `None`: any."""
        state = self._states[-1]
        if state.has_ended:
            return self._table.ends
        return self._openings.mask(state.tail) if state.call is None else state.call.mask()

    def accept(self, token_id: int) -> None:
        """Take the next token."""
        self._states.append(self._after(self._states[-1], token_id))

    def validate(self, token_ids: Sequence[int]) -> int:
        """How many of these tokens may come next, one after the other."""
        num_valid = 0
        try:
            for token_id in token_ids:
                self.accept(token_id)
                num_valid += 1
        except RequestError:
            pass
        self.rollback(num_valid)
        return num_valid

    def rollback(self, num_tokens: int) -> None:
        """Take back the last tokens that were accepted."""
        assert 0 <= num_tokens < len(self._states), "only what was accepted is taken back"
        del self._states[len(self._states) - num_tokens :]
        state = self._states[-1]
        if state.call is not None:
            state.call.rollback(state.call.num_accepted - state.num_in_call)

    def forced(self) -> list[int]:
        """Tokens that must come next."""
        call = self._states[-1].call
        return [] if call is None else call.forced()

    def _after(self, state: _State, token_id: int) -> _State:
        is_end = token_id in self._table.eos_token_ids
        if state.has_ended and not is_end:
            raise RequestError(f"token `{token_id}` follows the end of the completion")
        if state.call is not None:
            return self._in_call(state, state.call, token_id)
        return self._in_text(state, token_id, is_end)

    def _in_call(self, state: _State, call: GrammarMatcher, token_id: int) -> _State:
        call.accept(token_id)
        if call.is_finished:
            return _State(b"", None, 0, not self._rules.parallel)
        return state._replace(num_in_call=call.num_accepted)

    def _in_text(self, state: _State, token_id: int, is_end: bool) -> _State:
        if is_end:
            return state._replace(has_ended=True)
        marker, first = self._openings.marker, self._rules.first
        text = state.tail + self._table.token_bytes[token_id]
        if marker not in text:
            return state._replace(tail=self._openings.begun(text))
        if first is None or not text.endswith(marker):
            raise RequestError(f"token `{token_id}` opens a tool call where none may open")
        return _State(b"", first.copy(), 0, False)
