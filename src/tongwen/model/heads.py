"""What is made of hidden states: logits, a reward, a vector; for the rows that are wanted."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tongwen.kernels.loss import chunked_logprobs
from tongwen.kernels.machine import Machine
from tongwen.kernels.panels import Packed
from tongwen.model.stream import Stream


class LanguageHead(nn.Module):
    """One logit for each row of the vocabulary."""

    def __init__(self, dim: int, vocab: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab, dim))

    def forward(
        self, hidden: Float[Tensor, "rows dim"], stream: Stream
    ) -> Float[Tensor, "rows vocab"]:
        """Logits in the dtype of `hidden`."""
        return F.linear(hidden, self.weight)

    def logprobs(
        self,
        hidden: Float[Tensor, "rows dim"],
        targets: Int[Tensor, " rows"],
        stream: Stream,
    ) -> Float[Tensor, " rows"]:
        """Natural-log probability of each target; without grad, few rows of logits live at once."""
        return chunked_logprobs(lambda rows: self(rows, stream), hidden, targets)


class PackedLanguageHead(LanguageHead):
    """The same over weights in panels: native, without gradients."""

    def __init__(self, machine: Machine, weight: Packed) -> None:
        nn.Module.__init__(self)
        self.machine, self.packed = machine, weight

    def forward(
        self, hidden: Float[Tensor, "rows dim"], stream: Stream
    ) -> Float[Tensor, "rows vocab"]:
        """Logits in float32."""
        return self.machine.linear(hidden, [self.packed], [None])[0]

    def logprobs(
        self,
        hidden: Float[Tensor, "rows dim"],
        targets: Int[Tensor, " rows"],
        stream: Stream,
    ) -> Float[Tensor, " rows"]:
        """Natural-log probability of each target, from some thousands of logits at a time."""
        return self.machine.logprobs(hidden, self.packed, targets)


class RewardHead(nn.Module):
    """One number for each row: `score.weight` of `Qwen2ForSequenceClassification`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, dim))

    def forward(self, hidden: Float[Tensor, "rows dim"], stream: Stream) -> Float[Tensor, " rows"]:
        """Reward of the conversations that end at these rows, in float32 at least."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        return F.linear(hidden.to(wide), self.weight.to(wide)).squeeze(-1)


def last_rows(lengths: Sequence[int]) -> Int[Tensor, " sequences"]:
    """Row of the last token of each sequence of a stream."""
    return torch.tensor(lengths).cumsum(0) - 1


def mean_pool(
    hidden: Float[Tensor, "tokens dim"], lengths: Sequence[int]
) -> Float[Tensor, "sequences dim"]:
    """Mean of each sequence's hidden states, in float32 at least."""
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    return torch.stack([part.mean(0) for part in wide.split(list(lengths))])
