"""Linear layers and the embedding, handed the stream like every part of the model."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tongwen.model.stream import Stream


class Linear(nn.Module):
    """`x @ weight.T + bias`, told which tokens it works on."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Float[Tensor, "tokens in"], stream: Stream) -> Float[Tensor, "tokens out"]:
        """Project each row of `x`."""
        return F.linear(x, self.weight, self.bias)


class Embedding(nn.Module):
    """One row of `weight` for each token id."""

    def __init__(self, num_rows: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_rows, dim))

    def forward(
        self, token_ids: Int[Tensor, " tokens"], stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """Look each id up."""
        return F.embedding(token_ids, self.weight)
