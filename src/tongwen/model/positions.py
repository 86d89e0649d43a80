"""How a token's position turns its queries and keys."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tongwen.model.config import Qwen2Config, Yarn


def rotation_at(
    positions: Int[Tensor, " tokens"],
    config: Qwen2Config,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "2 tokens head_dim"]:
    """Cosines and sines of the rotary angles at `positions`; `dtype` is float32 or float64.

    They stay in `dtype` whatever the model's: transformers rounds them to bfloat16 first.
    """
    return half_rotation_at(positions, config, dtype).repeat(1, 1, 2)


def half_rotation_at(
    positions: Int[Tensor, " tokens"],
    config: Qwen2Config,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "2 tokens half_head_dim"]:
    """The same once for both elements of a pair."""
    frequencies = rotary_frequencies(config, dtype, positions.device)
    angles = torch.outer(positions.to(dtype), frequencies)  # [tokens, head_dim / 2]
    rotation = torch.stack((angles.cos(), angles.sin()))
    return rotation if config.rope_scaling is None else rotation * temperature(config.rope_scaling)


def rotary_frequencies(
    config: Qwen2Config, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, " half_head_dim"]:
    """Radians per position of each pair of dimensions: `theta ** (-2 i / head_dim)`."""
    pairs = torch.arange(0, config.head_size, 2, dtype=dtype, device=device)
    frequencies = 1.0 / config.rope_theta ** (pairs / config.head_size)
    if config.rope_scaling is None:
        return frequencies
    ramp = yarn_ramp(config.rope_scaling, config.rope_theta, config.head_size).to(frequencies)
    return frequencies / config.rope_scaling.factor * ramp + frequencies * (1 - ramp)


def yarn_ramp(yarn: Yarn, theta: float, head_dim: int) -> Float[Tensor, " half_head_dim"]:
    """0 where a frequency stays as it is, 1 where it is divided by the factor (YaRN, eq. 18)."""

    def dimension(turns: float) -> float:
        """The dimension that turns `turns` times within the original context."""
        context = yarn.original_max_position_embeddings
        return head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(yarn.beta_fast)), 0)
    high = min(math.ceil(dimension(yarn.beta_slow)), head_dim - 1)
    pairs = torch.arange(head_dim // 2, dtype=torch.float64)
    return ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)


def temperature(yarn: Yarn) -> float:
    """What cosines and sines are multiplied by, so that logits grow by its square (YaRN, 3.4)."""
    if yarn.attention_factor is not None:
        return yarn.attention_factor
    return 0.1 * math.log(yarn.factor) + 1.0 if yarn.factor > 1 else 1.0
