"""What `quant_error.py` measures with."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tongwen.kernels.machine import machine
from tongwen.kernels.memory import aligned_bytes
from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.quant.format import format_named

VOCAB, DIM = 50, 32


@pytest.fixture
def window() -> list[int]:
    return torch.randint(0, VOCAB, (70,), generator=torch.Generator().manual_seed(1)).tolist()


def test_the_same_predictions_do_not_diverge(window: list[int]) -> None:
    from divergence import Divergence

    hidden, head = torch.randn(len(window), DIM), torch.randn(VOCAB, DIM)
    found = Divergence()
    found.add(hidden, head, hidden @ head.T, window)
    figures = found.figures()
    assert abs(figures["kl"]) < 1e-6
    assert abs(figures["perplexity_change"]) < 1e-5
    assert figures["agreement"] == 1


def test_other_predictions_diverge_as_torch_says(window: list[int]) -> None:
    from divergence import Divergence

    hidden, head = torch.randn(len(window), DIM), torch.randn(VOCAB, DIM) / 8
    logits = hidden @ head.T + torch.randn(len(window), VOCAB) / 4
    found = Divergence()
    found.add(hidden, head, logits, window)
    found.add(hidden, head, logits, window)
    true, other = (hidden @ head.T).log_softmax(-1), logits.log_softmax(-1)
    kl = F.kl_div(other, true, log_target=True, reduction="batchmean")
    nll = nn.functional.nll_loss(other[:-1], torch.tensor(window[1:]))
    assert found.figures()["kl"] == pytest.approx(float(kl), rel=1e-4)
    assert found.perplexity == pytest.approx(math.exp(float(nll)), rel=1e-5)
    assert len(found.kl) == 2


def test_rounded_attention_is_attention_nearly(tiny_config: Qwen2Config) -> None:
    from divergence import RoundedCausal

    q, k, v = (torch.randn(9, heads, 8) for heads in (4, 2, 2))
    exact = PackedCausal([9], tiny_config)(0, q, k, v)
    rounded = RoundedCausal([9], tiny_config)(0, q, k, v)
    assert 1e-5 < float((exact - rounded).abs().max()) < 0.05


@pytest.mark.skipif(machine() is None, reason="compares with the native kernels")
def test_activations_are_rounded_as_the_kernels_round_them() -> None:
    from divergence import to_8_bits

    native, stored = machine(), format_named("Q8_0")
    assert native is not None
    x, weight = torch.randn(5, 64), torch.randn(64, 64)
    rows = stored.quantize(weight)
    into = aligned_bytes(native.packed_bytes("Q8_0", 64, 64))
    packed = native.pack("Q8_0", rows, 64, into)
    [out] = native.linear(x, [packed], [None])
    values = stored.dequantize(rows)
    simulated, plain = to_8_bits(x) @ values.T, x @ values.T
    assert float((out - simulated).abs().max()) < 1e-4
    assert float((out - plain).abs().max()) > 1e-3, "rounding leaves a mark"
