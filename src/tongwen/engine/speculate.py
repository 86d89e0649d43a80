"""Speculation: guess tokens cheaply, verify several in one step.

A draft is accepted exactly when it equals the token that is sampled in its place, so the text is
the same with and without it, at any temperature.  What it costs is the rows of wrong drafts, so
each request's drafts grow while they prove right and cease for a while when they do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tongwen.engine.request import Request


@runtime_checkable
class Proposer(Protocol):
    """Someone who guesses."""

    def propose(self, requests: Sequence[Request]) -> None:
        """Set `draft_ids` of those requests that have none and for which a guess may pay.

        Args:
            requests: All that decode; of others nothing need be kept.
        """
        ...

    def learn(self, request: Request, num_drafts: int, num_right: int) -> None:
        """Take note of how many of the last drafts, from the first on, were right."""
        ...


@dataclass
class Trust:
    """How many tokens to draft for one request, from how its drafts have fared."""

    least: int
    most: int
    length: int = 0
    pause: int = 0
    """Steps without drafts, after the last were wrong; doubles each time."""

    resting: int = 0

    def __post_init__(self) -> None:
        self.length = self.least

    def allowance(self) -> int:
        """Tokens that may be drafted now."""
        if self.resting:
            self.resting -= 1
            return 0
        return self.length

    def learn(self, num_drafts: int, num_right: int) -> None:
        """Draft longer after drafts that were right to the end, pause after wrong ones."""
        if num_right == num_drafts:
            self.length = min(2 * self.length, self.most)
        elif num_right:
            self.length = max(num_right, self.least)
        if num_right:
            self.pause = 0
            return
        self.pause = min(2 * self.pause + 1, 64)
        self.length, self.resting = self.least, self.pause


@dataclass
class Index:
    """Where each n-gram of a request's tokens came last; grows with the request."""

    size: int
    ends: dict[tuple[int, ...], int] = field(default_factory=dict)
    done: int = 0

    def update(self, tokens: Sequence[int]) -> int | None:
        """Note all n-grams of `tokens`; where the last one came before, the place after it."""
        for end in range(max(self.done, self.size), len(tokens)):
            self.ends[tuple(tokens[end - self.size : end])] = end
        self.done = max(self.done, len(tokens))
        if len(tokens) < self.size:
            return None
        return self.ends.get(tuple(tokens[-self.size :]))


@dataclass
class _State:
    tokens: list[int]
    index: Index
    trust: Trust


class PromptLookup:
    """Guesses that what followed the last few tokens before will follow them again.

    Made for editing, quoting and summing up (prompt lookup decoding; Saxena, 2023).

    Args:
        ngram: Tokens that must agree.
        least: Tokens that a first draft has.
        most: Tokens that a draft has at most.
        max_requests: It is for few: where many decode, their rows fill the processor already.
    """

    def __init__(
        self, *, ngram: int = 3, least: int = 3, most: int = 15, max_requests: int = 4
    ) -> None:
        self.ngram, self.least, self.most = ngram, least, most
        self.max_requests = max_requests
        self._states: dict[int, _State] = {}

    def propose(self, requests: Sequence[Request]) -> None:
        """Set the drafts of requests whose last tokens came before."""
        if len(requests) > self.max_requests:
            return
        present = {request.request_id for request in requests}
        self._states = {key: state for key, state in self._states.items() if key in present}
        for request in [each for each in requests if not each.draft_ids]:
            request.draft_ids = self._guess(request)

    def _guess(self, request: Request) -> list[int]:
        state = self._state(request)
        place = state.index.update(state.tokens)
        room = request.max_tokens - len(request.token_ids) - 1
        count = min(state.trust.allowance(), room) if place is not None else 0
        return [] if place is None else state.tokens[place : place + max(count, 0)]

    def _state(self, request: Request) -> _State:
        state = self._states.get(request.request_id)
        if state is None:
            state = _State([], Index(self.ngram), Trust(self.least, self.most))
            self._states[request.request_id] = state
        state.tokens += request.tokens(len(state.tokens), request.num_tokens)
        return state

    def learn(self, request: Request, num_drafts: int, num_right: int) -> None:
        """Lengthen or shorten what is drafted for this request."""
        state = self._states.get(request.request_id)
        if state is not None and num_drafts:
            state.trust.learn(num_drafts, num_right)
