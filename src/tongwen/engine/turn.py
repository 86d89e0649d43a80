"""One token of one request about to be chosen, and how a failure stays its own."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tongwen.engine.batch import Part
from tongwen.engine.request import Request
from tongwen.engine.sampler import Choice
from tongwen.errors import EngineError, TongwenError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """A request, and the row of logits that its next token is chosen from."""

    request: Request
    part: Part
    row: int
    depth: int = 0
    """How many of the request's drafts have proved right."""

    def choice(self) -> Choice:
        """What the row is read with.

        Raises:
            Exception: Whatever the request's constraint raises.
        """
        request = self.request
        allowed = request.chooser.allowed
        mask = None if request.matcher is None else request.matcher.mask()
        if mask is not None:
            allowed = mask if allowed is None else _both(allowed, mask)
        return Choice(request.chooser, request.num_tokens, allowed)

    def proves(self, token_id: int) -> bool:
        """Whether `token_id` is what was drafted for this place, so that the next row is valid."""
        num_drafts = self.part.chunk.num_drafts
        return self.depth < num_drafts and self.request.draft_ids[self.depth] == token_id

    def next(self) -> "Turn":
        """The place after this one."""
        return replace(self, row=self.row + 1, depth=self.depth + 1)


def turns_of(parts: Sequence[Part]) -> list[Turn]:
    """The first turn of each request whose last token was computed."""
    return [
        Turn(part.request, part, part.samples[0])
        for part in parts
        if part.samples and not part.request.is_finished
    ]


def readings(turns: list[Turn]) -> tuple[list[Turn], list[Choice]]:
    """How each row is read; those whose constraint fails are left out, and have failed."""
    ready: list[Turn] = []
    choices: list[Choice] = []
    for turn in turns:
        with failing_alone(turn.request):
            choices.append(turn.choice())
            ready.append(turn)
    return ready, choices


def _both(allowed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    size = min(len(allowed), len(mask))
    return allowed[:size] & mask[:size]


@contextlib.contextmanager
def failing_alone(request: Request) -> Iterator[None]:
    """An error while this request is looked after ends it, and nobody else."""
    try:
        yield
    except TongwenError as error:
        request.fail(error)
    except Exception as error:
        log.exception("request %d failed", request.request_id)
        request.fail(EngineError(f"the request failed: {type(error).__name__}: {error}"))
