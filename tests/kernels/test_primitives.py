"""Norm, rotation, gated activation and log-probabilities against their definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.kernels.loss import ROWS, chunked_logprobs, token_logprobs
from tongwen.kernels.mlp import swiglu
from tongwen.kernels.norm import rms_norm
from tongwen.kernels.rope import rotate


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_rms_norm_divides_by_the_root_mean_square() -> None:
    x, weight = randn(7, 12), randn(12, seed=1)
    squares = [sum(float(e) ** 2 for e in row) for row in x]
    mean_square = torch.tensor(squares, dtype=torch.float64) / 12
    expected = x / (mean_square + 1e-5).sqrt()[:, None] * weight
    assert (rms_norm(x, weight, 1e-5) - expected).abs().max() < 1e-14


def test_epsilon_rules_where_a_row_is_nearly_zero() -> None:
    x = torch.full((1, 4), 1e-5, dtype=torch.float64)
    got = rms_norm(x, torch.ones(4, dtype=torch.float64), 1e-6)
    assert got[0, 0].item() == pytest.approx(1e-5 / math.sqrt(1e-10 + 1e-6), rel=1e-12)


def test_rms_norm_rounds_before_it_multiplies_by_the_weight() -> None:
    x, weight = randn(64, 32, dtype=torch.bfloat16), randn(32, seed=1, dtype=torch.bfloat16)
    wide = x.float()
    unit = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
    got = rms_norm(x, weight, 1e-6)
    assert torch.equal(got, weight * unit.bfloat16())
    assert not torch.equal(got, (weight.float() * unit).bfloat16())  # the other order differs


def test_float16_rows_are_squared_in_float32() -> None:
    x = torch.full((1, 8), 300.0, dtype=torch.float16)  # 90,000: float16 ends at 65,504
    assert torch.equal(rms_norm(x, torch.ones(8).half(), 1e-6), torch.ones(1, 8).half())


def test_rotation_turns_element_i_with_element_i_plus_half() -> None:
    x = randn(5, 3, 8)
    angle = randn(5, 4, seed=1)
    rotation = torch.stack((angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)))
    pairs = (
        torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angle), angle)[:, None]
    )
    expected = torch.cat((pairs.real, pairs.imag), dim=-1)
    assert (rotate(x, rotation) - expected).abs().max() < 1e-14


def test_bfloat16_is_rotated_in_float32_and_rounded_once() -> None:
    x = randn(6, 2, 8, dtype=torch.bfloat16)
    rotation = torch.stack((randn(6, 8, seed=1).cos(), randn(6, 8, seed=1).sin())).float()
    got = rotate(x, rotation)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, rotate(x.float(), rotation).bfloat16())


def test_swiglu_is_silu_of_the_gate_times_up() -> None:
    gate, up = randn(4, 6), randn(4, 6, seed=1)
    assert (swiglu(gate, up) - gate / (1 + (-gate).exp()) * up).abs().max() < 1e-15


def test_primitives_have_the_gradients_of_their_definitions() -> None:
    x, weight = randn(3, 6).requires_grad_(), randn(6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-6), (x, weight))
    heads, rotation = randn(3, 2, 4).requires_grad_(), randn(2, 3, 4, seed=2)
    assert torch.autograd.gradcheck(lambda h: rotate(h, rotation), (heads,))
    assert torch.autograd.gradcheck(swiglu, (x, randn(3, 6, seed=3).requires_grad_()))
    targets = torch.tensor([0, 5, 2])
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, targets), (x,))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 99), st.sampled_from([1.0, 100.0]))
def test_token_logprobs_is_a_gathered_log_softmax(
    rows: int, vocab: int, seed: int, scale: float
) -> None:
    logits = randn(rows, vocab, seed=seed) * scale
    targets = torch.arange(rows) * 7 % vocab
    expected = logits.log_softmax(-1)[torch.arange(rows), targets]
    assert (token_logprobs(logits, targets) - expected).abs().max() < 1e-13 * scale


def test_log_probabilities_of_bfloat16_logits_are_float32() -> None:
    logits = randn(4, 1000, dtype=torch.bfloat16)
    got = token_logprobs(logits, torch.arange(4))
    assert got.dtype == torch.float32
    exact = logits.double().log_softmax(-1)[torch.arange(4), torch.arange(4)]
    # Of about -7; the sum of 1000 exponentials errs by 1000 * 2**-24 relatively at the very most.
    assert (got - exact).abs().max() < 1000 * 2**-24


@pytest.mark.parametrize("rows", [0, 1, ROWS, ROWS + 1, 2 * ROWS + 3])
def test_chunked_logprobs_are_those_of_all_rows_at_once(rows: int) -> None:
    hidden, weight = randn(rows, 4), randn(9, 4, seed=1)
    targets = torch.arange(rows) % 9
    alive: list[int] = []

    def head(rows: torch.Tensor) -> torch.Tensor:
        alive.append(len(rows))
        return rows @ weight.T

    got = chunked_logprobs(head, hidden, targets)
    expected = token_logprobs(hidden @ weight.T, targets)
    assert got.shape == (rows,)
    assert rows == 0 or (got - expected).abs().max() < 1e-13
    assert max(alive) <= ROWS


def test_chunked_logprobs_have_the_gradient_of_all_rows_at_once() -> None:
    hidden, weight = randn(ROWS + 5, 4).requires_grad_(), randn(9, 4, seed=1).requires_grad_()
    targets = torch.arange(len(hidden)) % 9
    chunked = chunked_logprobs(lambda rows: rows @ weight.T, hidden, targets).sum()
    whole = token_logprobs(hidden @ weight.T, targets).sum()
    for got, expected in zip(
        torch.autograd.grad(chunked, (hidden, weight)),
        torch.autograd.grad(whole, (hidden, weight)),
        strict=True,
    ):
        assert (got - expected).abs().max() < 1e-11
