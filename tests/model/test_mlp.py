"""The mixture of experts against a loop over all experts."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.mlp import MixtureOfExperts
from tongwen.model.stream import Stream


@pytest.fixture
def config(tiny_config: Qwen2Config) -> Qwen2Config:
    return replace(
        tiny_config,
        hidden_size=8,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=4,
        shared_expert_intermediate_size=5,
    )


def built(config: Qwen2Config, dtype: torch.dtype = torch.float64) -> MixtureOfExperts:
    generator = torch.Generator().manual_seed(2)
    mixture = MixtureOfExperts(config).to(dtype)
    with torch.no_grad():
        for weight in mixture.parameters():
            weight.normal_(0.0, 0.5, generator=generator)
    return mixture


def stream(config: Qwen2Config, tokens: int, adapter: Tensor | None = None) -> Stream:
    return Stream(attend=PackedCausal([tokens], config), adapter=adapter)


def randn(tokens: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(tokens)
    return torch.randn(tokens, 8, generator=generator, dtype=torch.float64).to(dtype)


@torch.no_grad()
def loop_over_all_experts(mixture: MixtureOfExperts, x: Tensor, whole: Stream) -> Tensor:
    probs = (x @ mixture.gate.weight.T).softmax(-1)
    out = torch.sigmoid(x @ mixture.shared_expert_gate.weight.T) * mixture.shared_expert(x, whole)
    for token, row in enumerate(probs):
        chosen = sorted(range(len(row)), key=lambda e: (-float(row[e]), e))[: mixture.top_k]
        total = row[chosen].sum() if mixture.renormalize else 1.0
        for expert in chosen:
            y = mixture.experts[expert](x[token : token + 1], whole)[0]
            out[token] += row[expert] / total * y
    return out


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 6])
@pytest.mark.parametrize("tokens", [1, 2, 33])
def test_the_mixture_is_a_loop_over_all_experts(
    config: Qwen2Config, tokens: int, top_k: int, renormalize: bool
) -> None:
    config = replace(config, num_experts_per_tok=top_k, norm_topk_prob=renormalize)
    mixture, x = built(config), randn(tokens)
    whole = stream(config, tokens)
    assert (mixture(x, whole) - loop_over_all_experts(mixture, x, whole)).abs().max() < 1e-13


def test_an_expert_gets_its_own_tokens_and_none_is_called_without(config: Qwen2Config) -> None:
    mixture, x = built(config), randn(4)
    with torch.no_grad():  # experts 1 and 4 win everywhere, in either order
        mixture.gate.weight.zero_()
        mixture.gate.weight[[1, 4], 0] = torch.tensor([1.0, 1.1]).double() * 50
        x[:, 0] = x[:, 0].abs() + 0.1
    called: list[tuple[int, int]] = []
    for i, expert in enumerate(mixture.experts):
        expert.register_forward_pre_hook(lambda _, args, i=i: called.append((i, len(args[0]))))
    mixture(x, stream(config, 4))
    assert called == [(1, 4), (4, 4)]


def test_each_expert_is_told_the_adapters_of_its_own_tokens(config: Qwen2Config) -> None:
    mixture, x = built(config), randn(9)
    adapter = torch.arange(9)  # names each token
    seen: dict[int, list[int]] = {}
    for i, expert in enumerate(mixture.experts):
        expert.register_forward_pre_hook(
            lambda _, args, i=i: seen.update({i: args[1].adapter.tolist()})
        )
    mixture(x, stream(config, 9, adapter))
    probs = (x @ mixture.gate.weight.T).softmax(-1)
    expected: dict[int, list[int]] = {}
    for token in range(9):
        for expert in probs[token].topk(2).indices.tolist():
            expected.setdefault(expert, []).append(token)
    assert seen == expected


def test_a_token_does_not_depend_on_its_neighbours(config: Qwen2Config) -> None:
    mixture, x = built(config), randn(12)
    together = mixture(x, stream(config, 12))
    alone = torch.cat([mixture(row, stream(config, 1)) for row in x.split(1)])
    assert (together - alone).abs().max() < 1e-14


def test_the_router_of_a_bfloat16_model_is_float32(config: Qwen2Config) -> None:
    mixture, x = built(config, torch.bfloat16), randn(5, torch.bfloat16)
    scores = mixture.gate(x, stream(config, 5))
    assert scores.dtype == torch.float32
    exact = x.double() @ mixture.gate.weight.double().T
    assert (scores - exact).abs().max() < 8 * 2**-24 * 8  # 8 terms of at most about 8
    assert mixture(x, stream(config, 5)).dtype == torch.bfloat16


def test_router_experts_and_shared_expert_learn(config: Qwen2Config) -> None:
    config = replace(config, num_experts=3)
    mixture, whole = built(config), stream(config, 3)
    names = ["gate.weight", "experts.0.down_proj.weight", "shared_expert_gate.weight"]
    weights = [mixture.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def run(x: Tensor, *given: Tensor) -> Tensor:
        named = dict(zip(names, given, strict=True))
        return torch.func.functional_call(mixture, named, (x, whole))

    assert torch.autograd.gradcheck(run, (randn(3).requires_grad_(), *weights))
