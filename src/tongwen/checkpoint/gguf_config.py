"""What a GGUF file's metadata says about the model's shape, and how its tokens are chosen.

The keys are llama.cpp's (`gguf-py/gguf/constants.py`), each after the architecture's name:
`qwen2.block_count`, `qwen2moe.expert_count`.  Sizes that the metadata leaves out are taken from the
tensors.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tongwen.checkpoint.configs import (
    GenerationDefaults,
    family_defaults,
    generation_from_json,
    generation_to_json,
)
from tongwen.checkpoint.json_files import Keys, is_number
from tongwen.errors import CheckpointError
from tongwen.model.config import Qwen2Config, Yarn

ARCHITECTURES = ("qwen2", "qwen2moe")
"""The values of `general.architecture` that are read."""

Shape = tuple[int, ...]


def qwen2_config(metadata: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Qwen2Config:
    """The shape of the model that a GGUF file holds.

    Args:
        metadata: The pairs of its header.
        shapes: The shapes of its tensors, by their names in the file.

    Raises:
        CheckpointError: It is of another architecture, a value is missing or of a wrong type, or
            it asks for something that no Qwen2 does.
        ConfigError: The values do not fit each other.
    """
    keys = _Keys(metadata)
    heads = keys.integer("attention.head_count")
    return Qwen2Config(
        vocab_size=_axis(shapes, "token_embd.weight", 0),
        hidden_size=keys.integer("embedding_length"),
        intermediate_size=keys.integer("feed_forward_length"),
        num_hidden_layers=keys.integer("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=keys.integer("attention.head_count_kv", heads),
        max_position_embeddings=keys.integer("context_length"),
        rope_theta=keys.number("rope.freq_base", 10_000.0),
        rms_norm_eps=keys.number("attention.layer_norm_rms_epsilon"),
        tie_word_embeddings="output.weight" not in shapes,
        head_dim=_head_dim(keys, heads),
        rope_scaling=_yarn(keys),
        max_window_layers=keys.integer("block_count"),
        **_window(keys),
        **(_experts(keys, shapes) if keys.architecture == "qwen2moe" else {}),
    )


def generation_defaults(metadata: Mapping[str, Any], config: Qwen2Config) -> GenerationDefaults:
    """How tokens are to be chosen: the family's way, but for what the file states.

    A model is taken for one of conversations where it has a template and a turn ends in another
    token than begins a document; base models carry templates too.  The padding ends a completion
    as well: it is the token that ends a document.

    Raises:
        ConfigError: A stated value is of the wrong type or out of range.
    """
    bos, eos, turn_end, pad = (
        Keys(metadata, {}).optional_integer(f"tokenizer.ggml.{key}_token_id")
        for key in ("bos", "eos", "eot", "padding")
    )
    ends = dict.fromkeys(end for end in (eos, turn_end, pad) if end is not None)
    chat = "tokenizer.chat_template" in metadata and eos != bos
    family = family_defaults(config, chat=chat, eos_token_ids=tuple(ends))
    stated = {name: metadata[key] for name, key in _SAMPLING.items() if key in metadata}
    given = generation_to_json(replace(family, bos_token_id=bos, pad_token_id=pad)) | stated
    for name, value in given.items():
        if isinstance(value, float):
            given[name] = _decimal(value)
    return generation_from_json(given)


_SAMPLING = {
    "temperature": "general.sampling.temp",
    "top_p": "general.sampling.top_p",
    "top_k": "general.sampling.top_k",
    "repetition_penalty": "general.sampling.penalty_repeat",
}


def _decimal(value: float) -> float:
    """The shortest decimal that rounds to a stored float32.

    The published `config.json` says 1e-06 where the file holds 9.999999974752427e-07.
    """
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


class _Keys:
    """The metadata under one architecture's name."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.metadata = metadata
        architecture = metadata.get("general.architecture")
        if architecture not in ARCHITECTURES:
            raise CheckpointError(
                f"the model is of architecture `{architecture!s:.40}`; "
                f"{' and '.join(ARCHITECTURES)} are read"
            )
        self.architecture = architecture

    def get(self, key: str) -> Any:  # noqa: ANN401 - whatever the file holds
        return self.metadata.get(f"{self.architecture}.{key}")

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer, or a list of one equal integer for each layer."""
        value = self.get(key)
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "an integer", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number, rounded as `_decimal` does."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if not is_number(value):
            raise self._wrong(key, "a number", value)
        return _decimal(value)

    def _wrong(self, key: str, kind: str, value: object) -> CheckpointError:
        found = "missing" if value is None else f"{value!r:.40}"
        return CheckpointError(f"`{self.architecture}.{key}` should be {kind}, is {found}")


def _axis(shapes: Mapping[str, Shape], name: str, axis: int) -> int:
    if name not in shapes or len(shapes[name]) <= axis:
        found = f"has shape {list(shapes[name])}" if name in shapes else "is missing"
        raise CheckpointError(f"tensor `{name}` should have {axis + 1} axes or more, {found}")
    return shapes[name][axis]


def _head_dim(keys: _Keys, heads: int) -> int | None:
    """The width of a head where it is not the usual one.

    Raises:
        CheckpointError: Keys, values or rotation have a width of their own.
    """
    usual = keys.integer("embedding_length") // max(heads, 1)
    head_dim = keys.integer("attention.key_length", usual)
    for key in ("attention.value_length", "rope.dimension_count"):
        if (found := keys.integer(key, head_dim)) != head_dim:
            raise CheckpointError(
                f"`{keys.architecture}.{key}` should be the width of a head, {head_dim}, is {found}"
            )
    return None if head_dim == usual else head_dim


def _yarn(keys: _Keys) -> Yarn | None:
    kind = keys.get("rope.scaling.type")
    if kind in (None, "none"):
        return None
    if kind != "yarn":
        raise CheckpointError(f"rotary scaling of type `{kind!s:.40}` is not known; yarn is")
    return Yarn(
        factor=keys.number("rope.scaling.factor"),
        original_max_position_embeddings=keys.integer("rope.scaling.original_context_length"),
    )


def _window(keys: _Keys) -> dict[str, Any]:
    """The sliding window and the layers that it holds for.

    Raises:
        CheckpointError: A window is stated, and not which layers have it.
    """
    window = keys.integer("attention.sliding_window", 0)
    if not 0 < window < keys.integer("context_length"):
        return {}
    windowed = keys.get("attention.sliding_window_pattern")
    if not isinstance(windowed, list):
        raise CheckpointError(
            f"`{keys.architecture}.attention.sliding_window` is {window}, and "
            "`sliding_window_pattern` does not list the layers that have it"
        )
    kinds = tuple("sliding_attention" if yes else "full_attention" for yes in windowed)
    return {"use_sliding_window": True, "sliding_window": window, "layer_types": kinds}


def _experts(keys: _Keys, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Counts and widths of the experts, and which layers have none.

    Early conversions state no widths.
    """
    layers = range(min(keys.integer("block_count"), len(shapes)))
    dense = tuple(i for i in layers if f"blk.{i}.ffn_gate_inp.weight" not in shapes)
    sparse = next((i for i in layers if i not in dense), 0)
    stack, shared = f"blk.{sparse}.ffn_gate_exps.weight", f"blk.{sparse}.ffn_gate_shexp.weight"
    return {
        "num_experts": keys.integer("expert_count"),
        "num_experts_per_tok": keys.integer("expert_used_count"),
        "moe_intermediate_size": _axis(shapes, stack, 1),
        "shared_expert_intermediate_size": _axis(shapes, shared, 0),
        "norm_topk_prob": keys.get("expert_weights_norm") is True,
        "mlp_only_layers": dense,
    }
