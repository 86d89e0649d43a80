"""Linear layers and the embedding, handed the stream like every part of the model."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tongwen.kernels.dense import dense
from tongwen.kernels.machine import Machine
from tongwen.kernels.panels import FORMATS, Packed
from tongwen.model.stream import Stream

BF16 = FORMATS.index("BF16")


class Linear(nn.Module):
    """`x @ weight.T + bias`, told which tokens it works on."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Float[Tensor, "tokens in"], stream: Stream) -> Float[Tensor, "tokens out"]:
        """Project each row of `x`."""
        return F.linear(x, self.weight, self.bias)


class DecidingLinear(Linear):
    """A small projection whose outputs choose or gate: never packed."""

    def forward(self, x: Float[Tensor, "tokens in"], stream: Stream) -> Float[Tensor, "tokens out"]:
        """Project each row of `x`."""
        return dense(x, self.weight)


class Router(DecidingLinear):
    """One score for each expert, in float32 at least."""

    def forward(
        self, x: Float[Tensor, "tokens in"], stream: Stream
    ) -> Float[Tensor, "tokens experts"]:
        """Score each row of `x`."""
        wide = torch.promote_types(x.dtype, torch.float32)
        return dense(x.to(wide), self.weight.to(wide))


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


class PackedLinear(nn.Module):
    """A linear layer over weights in panels: native, without gradients.

    Args:
        machine: The kernels.
        weight: The packed weights.
        bias: In float32.
    """

    def __init__(
        self, machine: Machine, weight: Packed, bias: Float[Tensor, " out"] | None = None
    ) -> None:
        super().__init__()
        self.machine, self.packed, self.bias = machine, weight, bias

    def forward(self, x: Float[Tensor, "tokens in"], stream: Stream) -> Float[Tensor, "tokens out"]:
        """Project each row of `x`, quantized to 8 bits in groups of 32."""
        return self.machine.linear(x, [self.packed], [self.bias])[0]


class PackedEmbedding(nn.Module):
    """An embedding looked up in panels."""

    def __init__(self, machine: Machine, weight: Packed) -> None:
        super().__init__()
        self.machine, self.packed = machine, weight

    def forward(
        self, token_ids: Int[Tensor, " tokens"], stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """Look each id up."""
        return self.machine.embed(self.packed, token_ids)


def project(
    x: Float[Tensor, "tokens in"], stream: Stream, *linears: nn.Module
) -> Sequence[Float[Tensor, "tokens out"]]:
    """Several projections of one input; packed ones quantize it once."""
    packed = [linear for linear in linears if isinstance(linear, PackedLinear)]
    rounded = {linear.packed.format == BF16 for linear in packed}  # bfloat16 is not quantized
    if len(packed) < len(linears) or len(rounded) > 1:
        return [linear(x, stream) for linear in linears]
    weights, biases = [linear.packed for linear in packed], [linear.bias for linear in packed]
    return packed[0].machine.linear(x, weights, biases)
