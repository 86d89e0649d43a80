"""The same weights in transformers: the independent implementation that ours is compared with."""

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config, Qwen2MoeConfig

from tongwen.model import config as ours
from tongwen.model.qwen2 import Qwen2ForCausalLM

SAME_NAMES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "use_sliding_window",
    "sliding_window",
    "initializer_range",
)
EXPERT_NAMES = (
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "norm_topk_prob",
    "decoder_sparse_step",
)

Twin = Callable[[Qwen2ForCausalLM], PreTrainedModel]


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Threads waiting for each other cost tiny models more than they bring, and more so in CI."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def oracle_logits() -> Callable[..., Tensor]:
    """`logits` of `oracle.py`; test folders are no packages, so it is read by its path."""
    logits: Callable[..., Tensor] = runpy.run_path(str(Path(__file__).with_name("oracle.py")))[
        "logits"
    ]
    return logits


@pytest.fixture(scope="session")
def twin() -> Twin:
    """Makes transformers' model with the weights of ours, sharing the memory of all but experts.

    `sdpa` and `eager`: transformers' eager attention rounds probabilities to bfloat16, its grouped
    experts refuse float64.
    """

    def make(model: Qwen2ForCausalLM) -> PreTrainedModel:
        with torch.device("meta"):
            theirs = AutoModelForCausalLM.from_config(
                _config(model.config),
                dtype=model.model.norm.weight.dtype,
                attn_implementation="sdpa",
                experts_implementation="eager",
            )
        backbone = theirs.model
        backbone.rotary_emb = type(backbone.rotary_emb)(config=theirs.config)
        theirs.load_state_dict(_fused(model), assign=True)
        theirs.tie_weights()
        return theirs.eval()

    return make


def _config(config: ours.Qwen2Config) -> Qwen2Config | Qwen2MoeConfig:
    """Our config in transformers' words; each layer's kind is listed, whoever decided it."""
    named = {name: getattr(config, name) for name in SAME_NAMES}
    layers = range(config.num_hidden_layers)
    named["layer_types"] = [
        "full_attention" if config.window(layer) is None else "sliding_attention"
        for layer in layers
    ]
    named["rope_parameters"] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if yarn := config.rope_scaling:
        named["rope_parameters"] |= {
            "rope_type": "yarn",
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original_max_position_embeddings,
        }
    if config.head_dim is not None:
        named["head_dim"] = config.head_dim
    if not config.num_experts:
        return Qwen2Config(**named)
    named |= {name: getattr(config, name) for name in EXPERT_NAMES}
    return Qwen2MoeConfig(**named, mlp_only_layers=list(config.mlp_only_layers))


def _fused(model: Qwen2ForCausalLM) -> dict[str, Tensor]:
    """Our weights under transformers' names: its experts lie in one tensor."""
    weights = {k: v for k, v in model.state_dict().items() if ".mlp.experts." not in k}
    for layer, block in enumerate(model.model.layers):
        if model.config.is_sparse(layer):
            prefix, experts = f"model.layers.{layer}.mlp.experts", block.mlp.experts
            weights[f"{prefix}.gate_up_proj"] = torch.stack(
                [torch.cat((e.gate_proj.weight, e.up_proj.weight)) for e in experts]
            ).detach()
            weights[f"{prefix}.down_proj"] = torch.stack(
                [e.down_proj.weight for e in experts]
            ).detach()
    return weights
