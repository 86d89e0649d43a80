"""Rotary angles, plain and stretched, against transformers and the published numbers."""

from dataclasses import replace

import pytest
import torch
from transformers import Qwen2Config as TheirConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tongwen.kernels.rope import rotate
from tongwen.model.config import Qwen2Config, Yarn
from tongwen.model.positions import rotary_frequencies, rotation_at, temperature, yarn_ramp
from tongwen.model.presets import preset

CPU = torch.device("cpu")
QWEN2_CONTEXT = 32_768


def yarn(factor: float, context: int = QWEN2_CONTEXT) -> Yarn:
    return Yarn(factor=factor, original_max_position_embeddings=context)


@pytest.mark.parametrize(
    ("head_dim", "context", "low", "high"),
    [
        (128, QWEN2_CONTEXT, 23, 40),
        (64, QWEN2_CONTEXT, 11, 20),
        # What releases of transformers that took the base models' 131,072 for the original used.
        (128, 131_072, 30, 47),
        (64, 131_072, 15, 24),
    ],
)
def test_the_ramp_ends_where_it_should(head_dim: int, context: int, low: int, high: int) -> None:
    ramp = yarn_ramp(yarn(4.0, context), 1e6, head_dim)
    assert ramp[: low + 1].tolist() == [0.0] * (low + 1)
    assert 0 < ramp[low + 1] < ramp[high - 1] < 1
    assert ramp[high:].tolist() == [1.0] * (head_dim // 2 - high)


@pytest.mark.parametrize(
    ("factor", "expected", "square"),
    [
        (1.0, 1.0, 1.0),
        (2.0, 1.069315, 1.143434),
        (4.0, 1.138629, 1.296477),
        (8.0, 1.207944, 1.459129),
    ],
)
def test_the_temperature_is_the_published_one(
    factor: float, expected: float, square: float
) -> None:
    assert temperature(yarn(factor)) == pytest.approx(expected, abs=5e-7)
    assert temperature(yarn(factor)) ** 2 == pytest.approx(square, abs=5e-7)


def test_a_stated_attention_factor_replaces_the_temperature() -> None:
    stated = replace(yarn(4.0), attention_factor=1.5)
    assert temperature(stated) == 1.5


@pytest.mark.parametrize("size", ["0.5b", "7b"])
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0, 7.5])
@pytest.mark.parametrize("betas", [(32.0, 1.0), (24.0, 2.0)])
def test_yarn_is_that_of_transformers(size: str, factor: float, betas: tuple[float, float]) -> None:
    scaling = replace(yarn(factor), beta_fast=betas[0], beta_slow=betas[1])
    config = replace(preset(size), rope_scaling=scaling)
    theirs = TheirConfig(
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        max_position_embeddings=131_072,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": factor,
            "original_max_position_embeddings": QWEN2_CONTEXT,
            "beta_fast": betas[0],
            "beta_slow": betas[1],
        },
    )
    frequencies, attention_factor = ROPE_INIT_FUNCTIONS["yarn"](theirs, CPU)
    got = rotary_frequencies(config, torch.float32, CPU)
    # A power, a quotient and a mix, each rounded in float32.
    torch.testing.assert_close(got, frequencies, rtol=4 * 2**-23, atol=0)
    assert temperature(scaling) == pytest.approx(attention_factor, rel=1e-15)


def test_plain_frequencies_are_powers_of_theta() -> None:
    got = rotary_frequencies(preset("0.5b"), torch.float64, CPU)
    expected = [1e6 ** (-2 * i / 64) for i in range(32)]
    assert got.tolist() == pytest.approx(expected, rel=1e-14)


def test_a_rotation_holds_cosines_and_sines_of_position_times_frequency() -> None:
    config = replace(preset("0.5b"), rope_theta=10_000.0)
    positions = torch.tensor([5, 0, 700])
    cos, sin = rotation_at(positions, config, torch.float64)
    angles = positions[:, None].double() * rotary_frequencies(config, torch.float64, CPU)
    assert (cos - angles.cos().repeat(1, 2)).abs().max() < 1e-12
    assert (sin - angles.sin().repeat(1, 2)).abs().max() < 1e-12


def test_the_temperature_multiplies_cosines_and_sines(tiny_config: Qwen2Config) -> None:
    config = replace(tiny_config, rope_scaling=replace(yarn(4.0), attention_factor=2.0))
    cos, sin = rotation_at(torch.arange(9), config, torch.float64)
    assert (cos.square() + sin.square() - 4).abs().max() < 1e-14


def test_equal_distances_give_equal_scores(tiny_config: Qwen2Config) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 8, generator=generator, dtype=torch.float64)
    positions = torch.tensor([3, 10, 103, 110])
    rotation = rotation_at(positions, tiny_config, torch.float64)
    q, k = (rotate(x.expand(4, 1, 8), rotation)[:, 0] for x in (q, k))
    assert abs(q[1] @ k[0] - q[3] @ k[2]) < 1e-12
    assert abs(q[1] @ k[0] - q[3] @ k[0]) > 1e-3
