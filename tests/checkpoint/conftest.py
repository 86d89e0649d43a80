"""Tiny checkpoints of both kinds, made on the spot by the libraries of those who publish them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from torch import Tensor

from tongwen.checkpoint.tensor_names import entries
from tongwen.model.config import Qwen2Config
from tongwen.quant.format import BlockFormat

Weights = dict[str, Tensor]
Edit = Callable[[GGUFWriter, Weights], None]


@pytest.fixture(scope="session")
def dense_config() -> Qwen2Config:
    """Wide enough for blocks of 256."""
    return Qwen2Config(
        vocab_size=24,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        max_window_layers=1,
    )


@pytest.fixture(scope="session")
def sparse_config() -> Qwen2Config:
    """Two layers of experts."""
    return Qwen2Config(
        vocab_size=24,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        rope_theta=10_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        max_window_layers=2,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=64,
    )


@pytest.fixture(scope="session")
def random_weights() -> Callable[[Qwen2Config], Weights]:
    """Every tensor of a model by published name, in float32."""

    def make(config: Qwen2Config) -> Weights:
        generator = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(entry.shape, generator=generator)
            for name, entry in entries(config).items()
        }

    return make


def write_gguf(
    path: Path,
    config: Qwen2Config,
    weights: Weights,
    format: BlockFormat | None = None,
    edit: Edit | None = None,
) -> Path:
    """Write a model as GGUF with the `gguf` package."""
    writer = GGUFWriter(path, "qwen2moe" if config.num_experts else "qwen2")
    add_config(writer, config)
    stored = stacked(config, weights)
    if edit is not None:
        edit(writer, stored)
    for name, tensor in stored.items():
        add_tensor(writer, name, tensor, format)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def make_gguf(
    tmp_path: Path, random_weights: Callable[[Qwen2Config], Weights]
) -> Callable[..., Path]:
    """Write a model with random weights as GGUF.

    `format` is that of the matrices; `edit` is called with the writer and with the tensors by
    their names in the file, and may change both.
    """

    def make(config: Qwen2Config, **settings: Any) -> Path:
        return write_gguf(tmp_path / "model.gguf", config, random_weights(config), **settings)

    return make


@pytest.fixture(scope="session")
def tiny_gguf(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_config: Qwen2Config,
    random_weights: Callable[[Qwen2Config], Weights],
) -> Path:
    """A whole model in GGUF."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(path, tiny_config, random_weights(tiny_config))


@pytest.fixture(scope="session")
def smallest_gguf(
    tmp_path_factory: pytest.TempPathFactory,
    random_weights: Callable[[Qwen2Config], Weights],
) -> bytes:
    """The fewest bytes that are a whole model."""
    config = Qwen2Config(
        vocab_size=4,
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
    )
    path = tmp_path_factory.mktemp("smallest") / "model.gguf"
    return write_gguf(path, config, random_weights(config)).read_bytes()


def add_config(writer: GGUFWriter, config: Qwen2Config) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.num_experts:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)


def stacked(config: Qwen2Config, weights: Weights) -> Weights:
    """The tensors by their names in a GGUF file, experts one upon the other."""
    parts: dict[str, list[Tensor]] = {}
    for name, entry in entries(config).items():
        parts.setdefault(entry.gguf, []).append(weights[name])
    return {
        name: torch.stack(tensors) if "_exps" in name else tensors[0]
        for name, tensors in parts.items()
    }


def add_tensor(writer: GGUFWriter, name: str, tensor: Tensor, format: BlockFormat | None) -> None:
    """As llama.cpp's converter does it: vectors stay in float32."""
    if format is None or tensor.ndim == 1:
        writer.add_tensor(name, tensor.float().numpy())
        return
    rows = stored_rows(tensor, format).view(*tensor.shape[:-1], -1)
    writer.add_tensor(name, rows.numpy(), raw_dtype=GGMLQuantizationType(format.type_id))


def stored_rows(tensor: Tensor, format: BlockFormat) -> Tensor:
    """Quantized where there is a definition of it, else random bytes with scales of 1.

    The random bytes depend on nothing but how many there are.
    """
    rows = tensor.reshape(-1, tensor.shape[-1])
    if format.encode is not None:
        return format.quantize(rows)
    shape = (len(rows), format.row_bytes(rows.shape[1]))
    stored = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1))
    one_everywhere = torch.ones(1).half().view(torch.uint8)
    blocks = stored.to(torch.uint8).view(-1, format.block_bytes)
    for at in (0, 2, format.block_bytes - 4, format.block_bytes - 2):
        blocks[:, at : at + 2] = one_everywhere
    return blocks.view(shape)
