"""The feed-forward half of a block: one gated network, or a mixture of them."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tongwen.kernels.mlp import swiglu
from tongwen.kernels.moe import Routing, add_gated, route
from tongwen.kernels.panels import stacked
from tongwen.model.config import Qwen2Config
from tongwen.model.linear import BF16, DecidingLinear, Linear, PackedLinear, Router, project
from tongwen.model.stream import Stream


class MLP(nn.Module):
    """`down(silu(gate(x)) * up(x))`."""

    def __init__(self, dim: int, ffn: int) -> None:
        super().__init__()
        self.gate_proj = Linear(dim, ffn)
        self.up_proj = Linear(dim, ffn)
        self.down_proj = Linear(ffn, dim)

    def forward(
        self, x: Float[Tensor, "tokens dim"], stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """Transform each token on its own; packed weights do it all in one operation."""
        if not stream.is_watched and (packed := self._packed()) is not None:
            return packed[0].machine.mlp(x, *(linear.packed for linear in packed))
        gate, up = project(x, stream, self.gate_proj, self.up_proj)
        return self.down_proj(swiglu(gate, up), stream)

    def _packed(self) -> list[PackedLinear] | None:
        """The three projections where all are packed and gate and up round `x` alike."""
        linears: list[nn.Module] = [self.gate_proj, self.up_proj, self.down_proj]
        packed = [linear for linear in linears if isinstance(linear, PackedLinear)]
        if len(packed) < len(linears):
            return None
        gate, up = (linear.packed.format == BF16 for linear in packed[:2])
        return packed if gate == up else None


class Experts(nn.ModuleList):
    """The routed experts, one after the other: what `PackedExperts` does, told plainly."""

    def forward(
        self, x: Float[Tensor, "tokens dim"], routing: Routing, stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """What its experts say to each token, weighted; added in the order of expert ids."""
        rows = routing.rows.split(routing.counts.tolist())
        weights = routing.weights.to(x.dtype).split(routing.counts.tolist())
        mixed = torch.zeros_like(x)
        for expert, mine, weight in zip(self, rows, weights, strict=True):
            if len(mine):
                adapted = None if stream.adapter is None else stream.adapter[mine]
                part = replace(stream, adapter=adapted)
                mixed = mixed.index_add(0, mine, expert(x[mine], part) * weight.unsqueeze(-1))
        return mixed


class PackedExperts(nn.Module):
    """The routed experts over weights in panels, in one operation: native, without gradients.

    Args:
        experts: One after the other, and `can_be_one`.
    """

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        gates = _layers(experts, "gate_proj")
        self.machine = gates[0].machine
        self.gate, self.up, self.down = (
            stacked([layer.packed for layer in layers])
            for layers in (gates, _layers(experts, "up_proj"), _layers(experts, "down_proj"))
        )

    def forward(
        self, x: Float[Tensor, "tokens dim"], routing: Routing, stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """What its experts say to each token, weighted; added in the order of expert ids."""
        rows, weights, counts = routing
        matrices = self.gate, self.up, self.down
        return self.machine.experts(
            x.contiguous(), matrices, rows=rows, weights=weights, counts=counts
        )


def can_be_one(experts: Experts) -> bool:
    """Whether all are packed, each matrix alike in all, and gate and up read one form of input."""
    names = ("gate_proj", "up_proj", "down_proj")
    layers = {name: _layers(experts, name) for name in names}
    if any(len(packed) < len(experts) for packed in layers.values()):
        return False
    formats = {name: {layer.packed.format for layer in layers[name]} for name in names}
    forms = {format == BF16 for name in ("gate_proj", "up_proj") for format in formats[name]}
    return len(forms) == 1 and all(len(found) == 1 for found in formats.values())


def _layers(experts: Experts, name: str) -> list[PackedLinear]:
    """The layers of that name that are packed."""
    layers = (expert.get_submodule(name) for expert in experts)
    return [layer for layer in layers if isinstance(layer, PackedLinear)]


class MixtureOfExperts(nn.Module):
    """Routed experts, weighted by the router, and one shared expert behind a sigmoid gate.

    `y = sum over top-k of p_e E_e(x) + sigmoid(w x) S(x)`, with `p` the softmax over all experts
    (Qwen2 Technical Report, section 2.2.2, equations 1 and 2).  What the report's table calls
    eight shared experts is one of eight times the width in the published weights.
    """

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        dim = config.hidden_size
        self.top_k, self.renormalize = config.num_experts_per_tok, config.norm_topk_prob
        self.gate = Router(dim, config.num_experts)
        self.experts: Experts | PackedExperts = Experts(
            MLP(dim, config.moe_intermediate_size) for _ in range(config.num_experts)
        )
        self.shared_expert = MLP(dim, config.shared_expert_intermediate_size)
        self.shared_expert_gate = DecidingLinear(dim, 1)

    def forward(
        self, x: Float[Tensor, "tokens dim"], stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """Send each token to its experts, and all to the shared one."""
        routing = route(self.gate(x, stream), self.top_k, self.renormalize)
        mixed = self.experts(x, routing, stream)
        return add_gated(mixed, self.shared_expert(x, stream), self.shared_expert_gate(x, stream))
