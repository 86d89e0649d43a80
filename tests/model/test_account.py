"""The model's own arithmetic against torch's counter of operations."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tongwen.model.account import count_parameters, forward_flops
from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream


@pytest.fixture(params=["dense", "untied", "moe"])
def config(request: pytest.FixtureRequest, tiny_config: Qwen2Config) -> Qwen2Config:
    if request.param == "dense":
        return tiny_config
    untied = replace(tiny_config, tie_word_embeddings=False)
    if request.param == "untied":
        return untied
    return replace(
        untied,
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=24,
        mlp_only_layers=(1,),
    )


def built(config: Qwen2Config) -> Qwen2ForCausalLM:
    model = Qwen2ForCausalLM(config)
    model.initialize(torch.Generator().manual_seed(0))
    return model.eval()


def test_counted_parameters_are_those_of_the_model(config: Qwen2Config) -> None:
    model = Qwen2ForCausalLM(config)
    counted = count_parameters(config)
    embedding = {id(p): p.numel() for p in (model.model.embed_tokens.weight, model.lm_head.weight)}
    assert counted.total == sum(p.numel() for p in model.parameters())
    assert counted.embedding == sum(embedding.values())
    idle = config.num_experts - config.num_experts_per_tok
    experts = 2 * 3 * 32 * 16  # two sparse layers
    assert counted.active == counted.total - idle * experts


def test_flops_are_the_matrix_products_and_two_for_each_norm_and_bias(config: Qwen2Config) -> None:
    """torch counts two for each multiply-add of a matrix product and nothing else.

    Its attention counts the whole square of queries and keys, as if every token saw all `tokens`.
    """
    tokens, model = 12, built(config).double()  # torch's own throughout: no native products
    ids = torch.arange(tokens)
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model(ids, Stream(attend=PackedCausal([tokens], config)))
    vectors = sum(p.numel() for p in model.parameters() if p.ndim == 1)
    expected = tokens * (forward_flops(config, context_len=tokens) - 2 * vectors)
    assert counter.get_total_flops() == expected


def test_a_window_bounds_what_attention_costs(tiny_config: Qwen2Config) -> None:
    config = replace(tiny_config, use_sliding_window=True, sliding_window=10, max_window_layers=1)
    full = forward_flops(tiny_config, 100)
    assert forward_flops(config, 10) == forward_flops(tiny_config, 10)
    assert full - forward_flops(config, 100) == 4 * 32 * 2 * 90  # q_dim, layers, tokens not seen
