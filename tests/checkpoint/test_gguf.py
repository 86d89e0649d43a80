"""GGUF files written by the `gguf` package, and what is refused in them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from tongwen.checkpoint.gguf import GGUFFile
from tongwen.errors import CheckpointError
from tongwen.model.config import Qwen2Config, Yarn
from tongwen.quant.format import FORMATS, BlockFormat
from tongwen.tokenizer.gguf import read_header, read_split

Make = Callable[..., Path]
Weights = dict[str, torch.Tensor]
MakeWeights = Callable[[Qwen2Config], Weights]
Edit = Callable[[GGUFWriter, Weights], None]


@pytest.mark.parametrize("format", FORMATS.values(), ids=lambda known: known.name)
def test_tensors_of_every_format_are_what_the_gguf_package_reads(
    format: BlockFormat, dense_config: Qwen2Config, make_gguf: Make
) -> None:
    path = make_gguf(dense_config, format=format)
    file, theirs = GGUFFile(path), {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    assert file.config == dense_config
    for name, stored in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
    ):
        tensor = theirs[stored]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(file.tensor(name).float().numpy(), expected)
        assert file.shape(name) == tuple(tensor.shape[::-1].tolist())
    assert file.dtype("model.embed_tokens.weight") == {
        "F16": torch.float16,
        "BF16": torch.bfloat16,
    }.get(format.name, torch.float32)


def test_raw_rows_are_the_bytes_of_the_file(tiny_gguf: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    format, rows, shape = GGUFFile(tiny_gguf).raw(name)
    entry = read_header(tiny_gguf).tensors["blk.1.ffn_up.weight"]
    content = tiny_gguf.read_bytes()[entry.offset : entry.offset + rows.numel()]
    assert (format.name, tuple(rows.shape), shape) == ("F32", (48, 128), (48, 32))
    assert rows.numpy().tobytes() == content


def test_a_tensor_in_another_dtype_is_the_rounded_one(tiny_gguf: Path) -> None:
    file, name = GGUFFile(tiny_gguf), "model.embed_tokens.weight"
    assert torch.equal(file.tensor(name, torch.bfloat16), file.tensor(name).bfloat16())


def test_experts_of_a_stack_come_one_by_one(
    sparse_config: Qwen2Config, random_weights: MakeWeights, make_gguf: Make
) -> None:
    weights = random_weights(sparse_config)
    file = GGUFFile(make_gguf(sparse_config))
    assert file.config == sparse_config
    assert set(file.names()) == set(weights)
    for name, values in weights.items():
        assert torch.equal(file.tensor(name), values), name


def test_a_gate_without_its_leading_axis_is_read(
    sparse_config: Qwen2Config, random_weights: MakeWeights, make_gguf: Make
) -> None:
    def squeeze(_: GGUFWriter, stored: Weights) -> None:
        for layer in range(2):
            name = f"blk.{layer}.ffn_gate_inp_shexp.weight"
            stored[name] = stored[name].squeeze(0)

    weights = random_weights(sparse_config)
    file = GGUFFile(make_gguf(sparse_config, edit=squeeze))
    name = "model.layers.1.mlp.shared_expert_gate.weight"
    assert torch.equal(file.tensor(name), weights[name])


def test_a_file_with_both_embeddings_is_untied(tiny_config: Qwen2Config, make_gguf: Make) -> None:
    def untie(_: GGUFWriter, stored: Weights) -> None:
        stored["output.weight"] = stored["token_embd.weight"] + 1

    file = GGUFFile(make_gguf(tiny_config, edit=untie))
    assert not file.config.tie_word_embeddings
    difference = file.tensor("lm_head.weight") - file.tensor("model.embed_tokens.weight")
    torch.testing.assert_close(difference, torch.ones_like(difference))


def test_scaling_and_window_are_read(tiny_config: Qwen2Config, make_gguf: Make) -> None:
    def stretch(writer: GGUFWriter, _: Weights) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(64)
        writer.add_sliding_window(16)
        writer.add_array("qwen2.attention.sliding_window_pattern", [False, True, True])

    config = GGUFFile(make_gguf(tiny_config, edit=stretch)).config
    assert config.rope_scaling == Yarn(factor=4.0, original_max_position_embeddings=64)
    assert [config.window(layer) for layer in range(3)] == [None, 16, 16]


def test_sampling_is_the_familys_but_for_what_the_file_states(
    tiny_config: Qwen2Config, make_gguf: Make
) -> None:
    def state(writer: GGUFWriter, _: Weights) -> None:
        writer.add_chat_template("{{ messages }}")
        writer.add_bos_token_id(143)
        writer.add_eos_token_id(145)
        writer.add_pad_token_id(143)
        writer.add_float32("general.sampling.temp", 0.6)
        writer.add_string("general.license", "apache-2.0")

    file = GGUFFile(make_gguf(tiny_config, edit=state))
    found = file.generation
    assert (found.do_sample, found.temperature, found.top_p, found.top_k) == (True, 0.6, 0.8, 20)
    assert (found.repetition_penalty, found.eos_token_ids) == (1.1, (145, 143))
    assert (file.chat_template, file.licence) == ("{{ messages }}", "apache-2.0")


def test_a_base_model_is_decoded_greedily(tiny_gguf: Path) -> None:
    file = GGUFFile(tiny_gguf)
    assert not file.generation.do_sample
    assert (file.chat_template, file.licence) == (None, None)


def test_the_digest_is_the_files(tiny_gguf: Path) -> None:
    assert GGUFFile(tiny_gguf).digest == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()


@pytest.fixture
def parts(tiny_gguf: Path, tmp_path: Path) -> list[Path]:
    """The tiny model in three files."""
    reader = GGUFReader(tiny_gguf)
    paths = [tmp_path / f"tiny-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]
    for number, path in enumerate(paths):
        writer = GGUFWriter(path, "qwen2")
        if number == 0:
            for field in reader.fields.values():
                if field.name.startswith("qwen2."):
                    writer.add_key_value(field.name, field.contents(), field.types[0])
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 3)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[number::3]:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def test_a_model_in_parts_reads_like_a_whole_one(parts: list[Path], tiny_gguf: Path) -> None:
    whole = GGUFFile(tiny_gguf)
    for path in parts:
        split = GGUFFile(path)
        assert split.config == whole.config
        assert all(torch.equal(split.tensor(n), whole.tensor(n)) for n in whole.names())


def test_missing_parts_are_named(parts: list[Path]) -> None:
    parts[1].unlink()
    with pytest.raises(CheckpointError, match=r"of which `tiny-00002-of-00003.gguf` is missing"):
        read_split(parts[0])


def test_a_part_in_anothers_place_is_refused(parts: list[Path]) -> None:
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(CheckpointError, match=r"part 1 of 3 expected, .* are \(2, 3\)"):
        read_split(parts[0])


def test_a_part_under_another_name_is_refused(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="should be named"):
        read_split(parts[0].rename(tmp_path / "first.gguf"))


def test_skipped_arrays_are_left_out_and_the_rest_is_the_same(
    tiny_config: Qwen2Config, make_gguf: Make
) -> None:
    def vocabulary(writer: GGUFWriter, _: Weights) -> None:
        writer.add_token_list(["a", "é", "", "中"])
        writer.add_token_types([1, 1, 3, 1])
        writer.add_string("last", "end")

    path = make_gguf(tiny_config, edit=vocabulary)
    whole, short = read_header(path), read_header(path, skip=("tokenizer.ggml.tokens", "last"))
    assert whole.metadata["tokenizer.ggml.tokens"] == ["a", "é", "", "中"]
    assert whole.metadata.keys() - short.metadata.keys() == {"tokenizer.ggml.tokens"}
    assert (whole.tensors, whole.data_offset) == (short.tensors, short.data_offset)
    assert GGUFFile(path).tokenizer_metadata["tokenizer.ggml.token_type"] == [1, 1, 3, 1]


def drop(name: str) -> Edit:
    return lambda _, stored: stored.__delitem__(name)


def store(name: str, tensor: torch.Tensor) -> Edit:
    return lambda _, stored: stored.update({name: tensor})


def state(method: str, *values: object) -> Edit:
    return lambda writer, _: getattr(writer, method)(*values)


def as_type(type_id: int) -> Edit:
    def edit(writer: GGUFWriter, stored: Weights) -> None:
        rows = np.zeros((256, gguf.GGML_QUANT_SIZES[GGMLQuantizationType(type_id)][1]), np.uint8)
        del stored["token_embd.weight"]
        writer.add_tensor("token_embd.weight", rows, raw_dtype=GGMLQuantizationType(type_id))

    return edit


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (drop("blk.0.attn_q.bias"), "lacks tensors: `blk.0.attn_q.bias`"),
        (drop("token_embd.weight"), "tensor `token_embd.weight` should have 1 axes or more"),
        (store("rope_freqs.weight", torch.ones(4)), "has unknown tensors: `rope_freqs.weight`"),
        (
            store("blk.0.ffn_up.weight", torch.ones(32, 48)),
            r"tensor `blk.0.ffn_up.weight` should have shape \[48, 32\], has \[32, 48\]",
        ),
        (as_type(23), "tensor `token_embd.weight`: values stored as IQ4_XS are not read; F32"),
        (state("add_rope_scaling_type", gguf.RopeScalingType.LINEAR), "of type `linear`"),
        (state("add_sliding_window", 16), "does not list the layers that have it"),
        (state("add_rope_dimension_count", 4), "rope.dimension_count` should be the width"),
        (state("add_block_count", 2**31), "announces 2147483648 layers, and has 38 tensors"),
        (state("add_head_count", 5), r"`num_attention_heads` \(5\) must be a multiple"),
        (state("add_head_count", 0), "`num_attention_heads` must be at least 1"),
        (state("add_layer_norm_rms_eps", float("nan")), "rms_epsilon` should be a number, is nan"),
        (state("add_string", "qwen2.context_length", "long"), "should be an integer, is 'long'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_is_not_one_is_refused(
    edit: Edit, what: str, tiny_config: Qwen2Config, make_gguf: Make
) -> None:
    def over(writer: GGUFWriter, stored: Weights) -> None:
        pairs = dict(writer.kv_data[0])
        writer.kv_data[0].clear()
        edit(writer, stored)
        writer.kv_data[0] = pairs | writer.kv_data[0]

    path = make_gguf(tiny_config, edit=over)
    with pytest.raises(CheckpointError, match=what) as refusal:
        GGUFFile(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="architecture `llama`; qwen2 and qwen2moe are read"):
        GGUFFile(tmp_path / "m.gguf")


def test_a_stack_of_too_few_experts_is_refused(sparse_config: Qwen2Config, make_gguf: Make) -> None:
    def fewer(_: GGUFWriter, stored: Weights) -> None:
        stored["blk.1.ffn_gate_exps.weight"] = stored["blk.1.ffn_gate_exps.weight"][:3]

    path = make_gguf(sparse_config, edit=fewer)
    with pytest.raises(CheckpointError, match="should hold 4 experts, holds 3"):
        GGUFFile(path)


def test_a_name_that_is_not_there_is_refused(tiny_gguf: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tensor `lm_head.weight`"):
        GGUFFile(tiny_gguf).tensor("lm_head.weight")
