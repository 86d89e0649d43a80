"""Tiny models of every kind against transformers and against a page of float64 einsum."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config, Yarn
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream

Twin = Callable[[Qwen2ForCausalLM], PreTrainedModel]

DENSE = Qwen2Config(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rope_theta=10_000.0,
    rms_norm_eps=1e-6,
    tie_word_embeddings=True,
)
MOE = replace(
    DENSE,
    tie_word_embeddings=False,
    num_experts=8,
    num_experts_per_tok=3,
    moe_intermediate_size=16,
    shared_expert_intermediate_size=24,
    mlp_only_layers=(1,),
)
SHAPES = {
    "tied": DENSE,
    "untied": replace(DENSE, tie_word_embeddings=False, rms_norm_eps=1e-5),
    "one head each": replace(DENSE, num_key_value_heads=4),
    "wide heads": replace(DENSE, head_dim=24),
    "moe": MOE,
    "moe, renormalised, every other layer": replace(
        MOE, norm_topk_prob=True, decoder_sparse_step=2, mlp_only_layers=()
    ),
    "huge key biases": DENSE,
    "windowed from layer 2": replace(
        DENSE, use_sliding_window=True, sliding_window=5, max_window_layers=2
    ),
    "windows listed": replace(
        DENSE,
        use_sliding_window=True,
        sliding_window=7,
        layer_types=(
            "sliding_attention",
            "full_attention",
            "sliding_attention",
            "full_attention",
        ),
    ),
    "window unused": replace(DENSE, sliding_window=5, max_window_layers=0),
    "windowed moe": replace(MOE, use_sliding_window=True, sliding_window=3, max_window_layers=1),
}
TOKENS = 40


def make(name: str, *, scale: float, dtype: torch.dtype = torch.float64) -> Qwen2ForCausalLM:
    """A model of random weights; norms and biases are random too, or a lost one would not show."""
    generator = torch.Generator().manual_seed(7)
    model = Qwen2ForCausalLM(SHAPES[name]).to(dtype)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in key else 0.0, scale, generator=generator)
            if name == "huge key biases" and key.endswith("k_proj.bias"):
                # Qwen2-7B has such biases on a few dimensions; here one low and one high frequency.
                weight[torch.tensor([0, 7, 11])] += torch.tensor([400.0, -250.0, 100.0]).to(dtype)
    return model.eval()


def token_ids(vocab: int = 96) -> Tensor:
    return torch.randint(vocab, (TOKENS,), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def our_logits(model: Qwen2ForCausalLM, ids: Tensor) -> Tensor:
    dtype = torch.promote_types(model.model.norm.weight.dtype, torch.float32)
    attend = PackedCausal([len(ids)], model.config, dtype=dtype)
    return model(ids, Stream(attend=attend))


@torch.no_grad()
def their_logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return model(ids.unsqueeze(0), use_cache=False).logits.squeeze(0)


def distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


@pytest.mark.parametrize("name", SHAPES)
def test_the_oracle_with_their_float32_roundings_is_transformers(
    name: str, oracle_logits: Callable[..., Tensor], twin: Twin
) -> None:
    model = make(name, scale=0.2)
    ids = token_ids()
    expected = their_logits(twin(model), ids)
    got = oracle_logits(model.state_dict(), model.config, ids, rounded=True)
    assert expected.std() > 0.1  # the weights do something
    # Sums of at most 48 float64 terms through 4 layers: some 1e-15 of logits of about 3.
    assert distance(got, expected) < 1e-12


@pytest.mark.parametrize("name", SHAPES)
def test_our_model_in_float64_is_the_oracle(
    name: str, oracle_logits: Callable[..., Tensor]
) -> None:
    model = make(name, scale=0.2)
    ids = token_ids()
    expected = oracle_logits(model.state_dict(), model.config, ids, rounded=False)
    # As above; huge keys make scores of about 1e3, whose roundings the softmax hands on.
    assert distance(our_logits(model, ids), expected) < 1e-11


@pytest.mark.parametrize("name", SHAPES)
def test_our_model_at_its_initial_scale_is_within_1e_6_of_transformers(
    name: str, twin: Twin
) -> None:
    model = make(name, scale=0.02)
    ids = token_ids()
    # Their float32 roundings (6e-8 each) are all that is between the two.
    assert distance(our_logits(model, ids), their_logits(twin(model), ids)) < 1e-6


def test_yarn_models_are_within_1e_6_of_transformers(twin: Twin) -> None:
    model = make("tied", scale=0.02)
    scaling = Yarn(factor=4.0, original_max_position_embeddings=32)
    stretched = Qwen2ForCausalLM(replace(model.config, rope_scaling=scaling)).double()
    stretched.load_state_dict(model.state_dict())
    ids = token_ids()
    plain, ours = our_logits(model, ids), our_logits(stretched, ids)
    assert distance(plain, ours) > 1e-5
    assert distance(ours, their_logits(twin(stretched), ids)) < 1e-6


@pytest.mark.parametrize("name", ["tied", "moe", "windowed from layer 2"])
def test_gradients_are_those_of_transformers(name: str, twin: Twin) -> None:
    model = make(name, scale=0.02)
    ids = token_ids()
    theirs = twin(model).train()
    for weight in theirs.parameters():  # they share our memory; their gradients are their own
        weight.requires_grad_()
    attend = PackedCausal([TOKENS], model.config, dtype=torch.float64)
    model(ids, Stream(attend=attend)).square().sum().backward()
    theirs(ids.unsqueeze(0), use_cache=False).logits.square().sum().backward()
    for key in ("model.layers.0.self_attn.k_proj.weight", "model.embed_tokens.weight"):
        ours, expected = model.get_parameter(key).grad, theirs.get_parameter(key).grad
        assert ours is not None
        assert expected is not None
        # The same float32 roundings, relative to the largest entry.
        assert distance(ours, expected) < 1e-5 * expected.abs().max().item()
