"""Every tensor of a Qwen2 checkpoint: its published name, its name in a GGUF file, its shape.

The published names are those of the safetensors files on the hubs; the others are llama.cpp's
(`gguf-py/gguf/tensor_mapping.py`).  A GGUF file holds the routed experts of a layer stacked in one
tensor; published files hold each on its own.  Neither permutes the rows of queries and keys.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tongwen.errors import CheckpointError
from tongwen.model.config import Qwen2Config

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One published tensor."""

    gguf: str
    """Its name in a GGUF file."""

    shape: Shape
    """Its shape, rows first."""

    expert: int | None = None
    """Which part of a stack of experts it is in a GGUF file."""


def entries(config: Qwen2Config) -> dict[str, Entry]:
    """The tensors that a checkpoint of this shape consists of, by published name."""
    embedding = (config.vocab_size, config.hidden_size)
    table = {
        "model.embed_tokens.weight": Entry("token_embd.weight", embedding),
        "model.norm.weight": Entry("output_norm.weight", (config.hidden_size,)),
    }
    if not config.tie_word_embeddings:
        table["lm_head.weight"] = Entry("output.weight", embedding)
    for layer in range(config.num_hidden_layers):
        parts = _attention(config) | (
            _experts(config) if config.is_sparse(layer) else _dense(config)
        )
        for name, (gguf, shape, expert) in parts.items():
            entry = Entry(f"blk.{layer}.{gguf}", shape, expert)
            table[f"model.layers.{layer}.{name}"] = entry
    return table


def check_tensors(
    path: Path, config: Qwen2Config, found: Mapping[str, Shape], extras: Collection[str] = ()
) -> None:
    """Refuse a directory whose tensors are not those that its config asks for.

    Args:
        path: The directory, for the error.
        config: Of any size; its counts are held against the tensors before they are used.
        found: Shapes of the tensors, by published name.
        extras: Names that may be there beyond what is expected.

    Raises:
        CheckpointError: With the names and the shapes.
    """
    check_counts(path, config.num_hidden_layers, "layers", len(found))
    check_counts(path, config.num_experts, "experts", len(found))
    expected = {name: entry.shape for name, entry in entries(config).items()}
    check_shapes(path, expected, found, extras)


def check_counts(path: Path, count: int, what: str, num_tensors: int) -> None:
    """Refuse more layers or experts than there are tensors.

    Raises:
        CheckpointError: There are more.
    """
    if count > num_tensors:
        raise CheckpointError(f"`{path}` announces {count} {what}, and has {num_tensors} tensors")


def check_shapes(
    path: Path,
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    extras: Collection[str] = (),
) -> None:
    """Refuse tensors that are missing, unknown or misshapen.

    Args:
        path: The file or directory, for the error.
        expected: Shapes by name.
        found: Shapes by name.
        extras: Names that may be there beyond what is expected.

    Raises:
        CheckpointError: With the names and the shapes.
    """
    _refuse(path, "lacks", expected.keys() - found.keys())
    _refuse(path, "has unknown", found.keys() - expected.keys() - set(extras))
    for name, shape in expected.items():
        # GGUF converters drop the leading axis of length 1 of the shared expert's gate.
        if found[name] != shape and (1, *found[name]) != shape:
            raise CheckpointError(
                f"`{path}`: tensor `{name}` should have shape {list(shape)}, has "
                f"{list(found[name])}"
            )


def _refuse(path: Path, what: str, names: Collection[str], most: int = 3) -> None:
    if names:
        shown = ", ".join(f"`{ascii(name)[1:-1]:.80}`" for name in sorted(names)[:most])
        more = f" and {len(names) - most} more" * (len(names) > most)
        raise CheckpointError(f"`{path}` {what} tensors: {shown}{more}")


_Part = tuple[str, Shape, int | None]


def _attention(config: Qwen2Config) -> dict[str, _Part]:
    dim = config.hidden_size
    q_dim = config.num_attention_heads * config.head_size
    kv_dim = config.num_key_value_heads * config.head_size
    return {
        "input_layernorm.weight": ("attn_norm.weight", (dim,), None),
        "self_attn.q_proj.weight": ("attn_q.weight", (q_dim, dim), None),
        "self_attn.q_proj.bias": ("attn_q.bias", (q_dim,), None),
        "self_attn.k_proj.weight": ("attn_k.weight", (kv_dim, dim), None),
        "self_attn.k_proj.bias": ("attn_k.bias", (kv_dim,), None),
        "self_attn.v_proj.weight": ("attn_v.weight", (kv_dim, dim), None),
        "self_attn.v_proj.bias": ("attn_v.bias", (kv_dim,), None),
        "self_attn.o_proj.weight": ("attn_output.weight", (dim, q_dim), None),
        "post_attention_layernorm.weight": ("ffn_norm.weight", (dim,), None),
    }


def _dense(config: Qwen2Config) -> dict[str, _Part]:
    dim, ffn = config.hidden_size, config.intermediate_size
    return {
        "mlp.gate_proj.weight": ("ffn_gate.weight", (ffn, dim), None),
        "mlp.up_proj.weight": ("ffn_up.weight", (ffn, dim), None),
        "mlp.down_proj.weight": ("ffn_down.weight", (dim, ffn), None),
    }


def _experts(config: Qwen2Config) -> dict[str, _Part]:
    dim, ffn = config.hidden_size, config.shared_expert_intermediate_size
    parts: dict[str, _Part] = {
        "mlp.gate.weight": ("ffn_gate_inp.weight", (config.num_experts, dim), None),
        "mlp.shared_expert_gate.weight": ("ffn_gate_inp_shexp.weight", (1, dim), None),
        "mlp.shared_expert.gate_proj.weight": ("ffn_gate_shexp.weight", (ffn, dim), None),
        "mlp.shared_expert.up_proj.weight": ("ffn_up_shexp.weight", (ffn, dim), None),
        "mlp.shared_expert.down_proj.weight": ("ffn_down_shexp.weight", (dim, ffn), None),
    }
    ffn = config.moe_intermediate_size
    for expert in range(config.num_experts):
        at = f"mlp.experts.{expert}"
        parts[f"{at}.gate_proj.weight"] = ("ffn_gate_exps.weight", (ffn, dim), expert)
        parts[f"{at}.up_proj.weight"] = ("ffn_up_exps.weight", (ffn, dim), expert)
        parts[f"{at}.down_proj.weight"] = ("ffn_down_exps.weight", (dim, ffn), expert)
    return parts
