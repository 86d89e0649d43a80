"""A model whose matrices are packed for the native kernels."""

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from tongwen.errors import CheckpointError
from tongwen.kernels.machine import FORMATS, Machine, Packed, aligned_bytes
from tongwen.model.config import Qwen2Config
from tongwen.model.heads import PackedLanguageHead
from tongwen.model.linear import Embedding, Linear, PackedEmbedding, PackedLinear
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.quant.format import format_named

HEAD_DIMS = (64, 128)
"""Widths of a head that native attention knows."""

REQUANTIZED = {"int8": "Q8_0", "int4": "Q4_0"}
"""The format that each kind of weights is rounded to: groups of 32, one scale each."""


def runs_natively(config: Qwen2Config) -> bool:
    """Whether the native kernels know a model of this shape."""
    widths = (config.hidden_size, config.intermediate_size)
    sparse = (config.moe_intermediate_size, config.shared_expert_intermediate_size)
    return config.head_size in HEAD_DIMS and not any(w % 32 for w in (*widths, *sparse))
