"""The model as a whole: ties, fresh weights, rows."""

from dataclasses import replace

import torch

from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream


def built(config: Qwen2Config) -> Qwen2ForCausalLM:
    model = Qwen2ForCausalLM(config)
    model.initialize(torch.Generator().manual_seed(0))
    return model


def test_a_tied_head_is_the_embedding_itself(tiny_config: Qwen2Config) -> None:
    model = built(tiny_config)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "lm_head.weight" not in dict(model.named_parameters())
    untied = built(replace(tiny_config, tie_word_embeddings=False))
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


def test_a_model_made_without_memory_is_tied_again(tiny_config: Qwen2Config) -> None:
    with torch.device("meta"):
        model = Qwen2ForCausalLM(tiny_config)
    model = model.to_empty(device="cpu")
    model.tie()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.initialize()
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())


def test_fresh_weights_are_normal_biases_zero_and_norms_one(tiny_config: Qwen2Config) -> None:
    model = built(replace(tiny_config, hidden_size=128, initializer_range=0.05))
    for name, weight in model.named_parameters():
        if "norm" in name:
            assert bool((weight == 1).all())
        elif name.endswith("bias"):
            assert not bool(weight.any())
        else:
            # The deviation of n draws errs by 1 / sqrt(2 n); five of those, and a mean of five.
            n = weight.numel()
            assert abs(weight.std() / 0.05 - 1) < 5 / (2 * n) ** 0.5
            assert abs(weight.mean() / 0.05) < 5 / n**0.5


def test_fresh_weights_depend_on_the_generator_alone(tiny_config: Qwen2Config) -> None:
    one, two = built(tiny_config).state_dict(), built(tiny_config).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_head_may_be_called_on_chosen_rows(tiny_config: Qwen2Config) -> None:
    model, ids = built(tiny_config).double(), torch.arange(10)
    stream = Stream(attend=PackedCausal([10], tiny_config, dtype=torch.float64))
    with torch.no_grad():
        whole = model(ids, stream)
        chosen = model.lm_head(model.model(ids, stream)[[2, 9]], stream)
    assert (whole[[2, 9]] - chosen).abs().max() < 1e-14


def test_one_definition_runs_in_every_dtype(tiny_config: Qwen2Config) -> None:
    model, ids = built(tiny_config), torch.arange(6)
    stream = Stream(attend=PackedCausal([6], tiny_config))
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert model.to(dtype)(ids, stream).dtype == dtype
