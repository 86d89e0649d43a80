"""Blocks of the published widths in bfloat16 against transformers and against float32.

The vocabulary is cut to 512 rows, which changes no reduction but saves gigabytes; the 72B model
and the mixture of experts have one block, the latter half of its 64 experts.  The largest takes
6 GB, its float32 copy included.
"""

import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.presets import preset
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream

VOCAB, TOKENS = 512, 32
SHAPES = {
    "0.5b": replace(preset("0.5b"), vocab_size=VOCAB, num_hidden_layers=2),
    "1.5b": replace(preset("1.5b"), vocab_size=VOCAB, num_hidden_layers=2),
    "7b": replace(preset("7b"), vocab_size=VOCAB, num_hidden_layers=2),
    "57b-a14b": replace(preset("57b-a14b"), vocab_size=VOCAB, num_hidden_layers=1, num_experts=32),
    "72b": replace(preset("72b"), vocab_size=VOCAB, num_hidden_layers=1),
}


@pytest.fixture(autouse=True)
def _free_memory_between_sizes() -> Iterator[None]:
    yield
    gc.collect()


def make(config: Qwen2Config) -> Qwen2ForCausalLM:
    """Fresh bfloat16 weights; biases of standard deviation 1, as published ones are not small."""
    generator = torch.Generator().manual_seed(11)
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config)
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    model.tie()
    model.initialize(generator)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("bias"):
                weight.normal_(0.0, 1.0, generator=generator)
    return model.requires_grad_(False).eval()


@torch.inference_mode()
def our_logits(model: Qwen2ForCausalLM, ids: Tensor) -> Tensor:
    return model(ids, Stream(attend=PackedCausal([len(ids)], model.config))).float()


@torch.inference_mode()
def their_logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return model(ids.unsqueeze(0), use_cache=False).logits.squeeze(0).float()


def relative_error(got: Tensor, exact: Tensor) -> Tensor:
    """Of each token's row of logits: root mean square of the error over that of the row."""
    return (got - exact).square().mean(-1).sqrt() / exact.square().mean(-1).sqrt()


def bf16_bound(config: Qwen2Config) -> float:
    """Relative error that bfloat16 may leave in a row of logits.

    Sums run in float32 (a dot product of K terms errs by at most K * 2**-24, and K is at most
    29568: 2**-9), so what counts is the rounding of stored results: each by at most 2**-8 of
    itself, taken as always that much, and independent, so that they add in squares.  Along one
    token's way through a block at most 20 tensors are stored (two for each norm, q k v and their
    rotation with rounded angles, probabilities, o, its projection, gate, up, silu, product, down,
    router, expert weight, their sum, two residuals), 3 more after the last one.
    """
    return 2**-8 * math.sqrt(20 * config.num_hidden_layers + 3)


@pytest.mark.slow
@pytest.mark.parametrize("size", SHAPES)
def test_blocks_of_true_width_are_transformers_within_bfloat16(
    size: str, twin: Callable[[Qwen2ForCausalLM], PreTrainedModel]
) -> None:
    config = SHAPES[size]
    model = make(config)
    ids = torch.randint(VOCAB, (TOKENS,), generator=torch.Generator().manual_seed(5))
    ours = our_logits(model, ids)
    theirs = their_logits(twin(model), ids)
    gc.collect()
    exact = our_logits(model.float(), ids)
    bound = bf16_bound(config)
    assert bool(exact.isfinite().all())
    # A router's near tie may fall the other way in bfloat16 and change a token altogether: the
    # median judges, and of a dense model the worst token too.
    judge = Tensor.median if config.num_experts else Tensor.max
    assert judge(relative_error(ours, exact)) < bound
    assert judge(relative_error(theirs, exact)) < bound
    assert judge(relative_error(ours, theirs)) < bound * math.sqrt(2)
    # Ours rounds less often than theirs (angles and router stay in float32): never much worse.
    assert relative_error(ours, exact).median() < 1.2 * relative_error(theirs, exact).median()


@pytest.mark.slow
@pytest.mark.parametrize("size", ["0.5b", "1.5b"])
def test_blocks_of_true_width_are_transformers_in_float32(
    size: str, twin: Callable[[Qwen2ForCausalLM], PreTrainedModel]
) -> None:
    model = make(SHAPES[size]).float()
    ids = torch.randint(VOCAB, (TOKENS,), generator=torch.Generator().manual_seed(5))
    error = relative_error(our_logits(model, ids), their_logits(twin(model), ids))
    # The same count of roundings as for bfloat16, of 2**-24 each, and sums of up to 8960 terms
    # whose errors are random: sqrt(8960) of them, in some other order.
    assert error.max() < bf16_bound(SHAPES[size]) * 2**-16 * math.sqrt(8960)
