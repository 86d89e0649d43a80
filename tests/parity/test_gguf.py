"""The real model's file, as the `gguf` package reads it and as we do."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFReader

from tongwen.checkpoint.gguf import GGUFFile
from tongwen.tokenizer.gguf import GGUFHeader, read_header

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def reader(real_gguf: Path) -> GGUFReader:
    """Takes ten seconds, hence once."""
    return GGUFReader(real_gguf)


@pytest.fixture(scope="module")
def header(real_gguf: Path) -> GGUFHeader:
    return read_header(real_gguf)


def test_metadata_is_the_same(reader: GGUFReader, header: GGUFHeader) -> None:
    theirs = {name: field for name, field in reader.fields.items() if "GGUF." not in name}
    assert header.metadata.keys() == theirs.keys()
    for name, field in theirs.items():
        assert header.metadata[name] == field.contents(), name


def test_tensors_lie_where_the_package_finds_them(reader: GGUFReader, header: GGUFHeader) -> None:
    ours = [
        (tensor.name, tensor.shape, tensor.type_id, tensor.offset)
        for tensor in header.tensors.values()
    ]
    assert ours == [
        (tensor.name, tuple(tensor.shape[::-1].tolist()), int(tensor.tensor_type),
         tensor.data_offset)
        for tensor in reader.tensors
    ]  # fmt: skip


def test_real_blocks_stand_for_the_same_values(reader: GGUFReader, real_gguf: Path) -> None:
    file, seen = GGUFFile(real_gguf), set()
    by_name = {tensor.name: tensor for tensor in reader.tensors}
    for name, stored in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("lm_head.weight", "output.weight"),
        *(
            (f"model.layers.{layer}.mlp.down_proj.weight", f"blk.{layer}.ffn_down.weight")
            for layer in range(24)
        ),
        ("model.layers.7.self_attn.k_proj.bias", "blk.7.attn_k.bias"),
    ):
        tensor = by_name[stored]
        if tensor.tensor_type in seen:
            continue
        seen.add(tensor.tensor_type)
        format, rows, _ = file.raw(name)
        expected = gguf.quants.dequantize(tensor.data[:512], tensor.tensor_type)
        ours = file.tensor(name)[:512] if rows.shape[0] == 1 else format.dequantize(rows[:512])
        assert np.array_equal(ours.numpy().view(np.uint32), expected.view(np.uint32)), name
    assert {kind.name for kind in seen} == {"Q5_0", "Q8_0", "Q4_K", "Q6_K", "F32"}


def test_the_config_is_the_published_one(real_gguf: Path) -> None:
    config = GGUFFile(real_gguf).config
    sizes = (config.hidden_size, config.intermediate_size, config.num_hidden_layers)
    heads = (config.num_attention_heads, config.num_key_value_heads, config.head_size)
    assert (sizes, heads) == ((896, 4864, 24), (14, 2, 64))
    assert (config.rms_norm_eps, config.rope_theta) == (1e-6, 1e6)
    assert (config.vocab_size, config.tie_word_embeddings) == (151936, False)


def test_chunks_make_no_difference(real_gguf: Path) -> None:
    file, name = GGUFFile(real_gguf), "model.layers.0.mlp.gate_proj.weight"
    format, rows, shape = file.raw(name)
    assert torch.equal(file.tensor(name), format.dequantize(rows).view(shape))


def test_the_file_asks_for_what_its_family_does(real_gguf: Path) -> None:
    found = GGUFFile(real_gguf).generation
    assert (found.temperature, found.top_p, found.top_k) == (0.7, 0.8, 20)
    assert (found.repetition_penalty, found.eos_token_ids) == (1.1, (151645, 151643))
