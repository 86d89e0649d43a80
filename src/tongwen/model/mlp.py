"""The feed-forward half of a block: one gated network, or a mixture of them."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tongwen.kernels.dense import dense
from tongwen.kernels.mlp import swiglu
from tongwen.kernels.moe import open_gate, route
from tongwen.model.config import Qwen2Config
from tongwen.model.linear import BF16, DecidingLinear, Linear, PackedLinear, project
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
        self.gate = DecidingLinear(dim, config.num_experts)
        self.experts = nn.ModuleList(
            MLP(dim, config.moe_intermediate_size) for _ in range(config.num_experts)
        )
        self.shared_expert = MLP(dim, config.shared_expert_intermediate_size)
        self.shared_expert_gate = DecidingLinear(dim, 1)

    def forward(
        self, x: Float[Tensor, "tokens dim"], stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """Send each token to its experts; contributions are added in the order of expert ids."""
        routing = route(self.router_logits(x), self.top_k, self.renormalize)
        rows = routing.rows.split(routing.counts.tolist())
        weights = routing.weights.to(x.dtype).split(routing.counts.tolist())
        mixed = torch.zeros_like(x)
        for expert, mine, weight in zip(self.experts, rows, weights, strict=True):
            if len(mine):
                adapted = None if stream.adapter is None else stream.adapter[mine]
                part = replace(stream, adapter=adapted)
                mixed = mixed.index_add(0, mine, expert(x[mine], part) * weight.unsqueeze(-1))
        gate = open_gate(self.shared_expert_gate(x, stream))
        shared = gate * self.shared_expert(x, stream)
        return mixed + shared

    def router_logits(self, x: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens experts"]:
        """One score for each expert, in float32 at least."""
        wide = torch.promote_types(x.dtype, torch.float32)
        return dense(x.to(wide), self.gate.weight.to(wide))
