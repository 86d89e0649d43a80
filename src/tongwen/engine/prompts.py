"""What is wanted of a prompt itself: its log-probabilities, or a vector."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tongwen.engine.batch import Part
from tongwen.engine.request import Request
from tongwen.engine.runner import Runner
from tongwen.engine.sampler import top_logprobs
from tongwen.kernels.loss import token_logprobs

ROWS = 32
"""Rows whose logits are there at once, all being looked at: 32 x 152,064 float32 are 19 MB."""


def look_at_prompt(runner: Runner, part: Part, hidden: Float[Tensor, "tokens dim"]) -> None:
    """Take what a request wants of the rows that this step computed of its prompt."""
    rows = hidden[part.first : part.first + part.chunk.num_tokens]
    if part.request.pooling is not None:
        pool(part.request, rows)
    if part.request.num_prompt_logprobs is not None:
        note_logprobs(runner, part.request, rows)


def note_logprobs(runner: Runner, request: Request, rows: Float[Tensor, "rows dim"]) -> None:
    """Note the log-probability of the token after each row, where the prompt has one.

    What is noted of these places already is replaced: a preempted prompt is computed again.
    """
    stop = request.num_computed + len(rows)
    wanted_from = min(request.prompt_logprobs_from, len(request.prompt_ids))
    first = max(request.num_computed, wanted_from - 1)  # the first whose next one is wanted
    _resume(request.prompt_logprobs, first + 1)
    _resume(request.prompt_top_logprobs, first + 1)
    targets = request.prompt_ids[first + 1 : stop + 1]
    if not targets:
        return
    rows = rows[first - request.num_computed :][: len(targets)]
    wanted = torch.tensor(targets, device=rows.device)
    if not request.num_prompt_logprobs:
        request.prompt_logprobs += runner.logprobs(rows, wanted).tolist()
        return
    for some, theirs in zip(rows.split(ROWS), wanted.split(ROWS), strict=True):
        logits = runner.logits(some)
        request.prompt_logprobs += token_logprobs(logits, theirs).tolist()
        request.prompt_top_logprobs += [
            top_logprobs(row, request.num_prompt_logprobs) for row in logits
        ]


def _resume(noted: list[Any], length: int) -> None:
    """Cut a list to a length; places that it never had, nobody wants."""
    del noted[length:]
    noted += [None] * (length - len(noted))


def pool(request: Request, rows: Float[Tensor, "rows dim"]) -> None:
    """Keep the last row, or the running mean of all, added up in the order of the tokens.

    The sum is kept in float64 and never regrouped: where chunks begin does not show.
    """
    if request.pooling == "last":
        request.pooled = rows[-1].to(torch.float32)
        return
    wide = rows.to(torch.float64)
    if not request.num_computed or request.pooled is None:
        request.pooled = torch.zeros_like(wide[0])
    request.pooled = torch.cat((request.pooled.unsqueeze(0), wide)).cumsum(0)[-1]
