"""`config.json` and `generation_config.json` as they are published, and what they stand for.

Read as transformers 4 writes it (`rope_theta`, `rope_scaling`, `torch_dtype`) and as 5 does
(`rope_parameters`, `dtype`, `layer_types`); what a file leaves out has the value that transformers
gives it (`configuration_qwen2.py`, `configuration_qwen2_moe.py`).  Written in the older form, which
both of them and vLLM read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.checkpoint.json_files import Keys, one_line, read_json
from tongwen.errors import CheckpointError, ConfigError
from tongwen.model.config import LayerType, Qwen2Config, Yarn

CONFIG_FILE = "config.json"
"""Name of the file in a checkpoint's directory."""

GENERATION_FILE = "generation_config.json"
"""Name of the file with the defaults for sampling."""

MODEL_TYPES = {"qwen2": "Qwen2", "qwen2_moe": "Qwen2Moe"}
"""The values of `model_type` that are read, and how their architectures' names begin."""

_ARCHITECTURES = ("ForCausalLM", "Model", "ForSequenceClassification")
_YARN_KEYS = {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow",
              "attention_factor"}  # fmt: skip
_ROPE_KEYS = {"rope_theta", "rope_type", "type", "partial_rotary_factor"}

# What transformers takes for a key that the file leaves out.
_DENSE_DEFAULTS: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "qkv_bias": True,
    "use_mrope": False,
    "partial_rotary_factor": 1.0,
}
_SPARSE_DEFAULTS = _DENSE_DEFAULTS | {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "num_experts_per_tok": 4,
    "num_experts": 60,
    "norm_topk_prob": False,
    "router_aux_loss_coef": 0.001,
}


def read_config(directory: Path) -> Qwen2Config:
    """The shape of the model in a checkpoint's directory.

    Raises:
        CheckpointError: There is no `config.json`, it is damaged, or of another architecture.
    """
    path = directory / CONFIG_FILE
    try:
        return config_from_json(read_json(path))
    except ConfigError as error:
        raise CheckpointError(f"`{path}`: {one_line(str(error))}") from error


def config_from_json(published: Mapping[str, Any]) -> Qwen2Config:
    """The config that the keys of a `config.json` stand for.

    A checkpoint with `dual_chunk_attention_config` is taken for as many positions as it was
    trained on: up to there its attention is the ordinary one.

    Raises:
        ConfigError: It is of another architecture, asks for something that no Qwen2 does, or a
            value is of the wrong type or out of range.
    """
    is_sparse = _architecture(published) == "qwen2_moe"
    keys = Keys(published, _SPARSE_DEFAULTS if is_sparse else _DENSE_DEFAULTS)
    _check_supported(keys)
    heads = keys.integer("num_attention_heads")
    return Qwen2Config(
        vocab_size=keys.integer("vocab_size"),
        hidden_size=keys.integer("hidden_size"),
        intermediate_size=keys.integer("intermediate_size"),
        num_hidden_layers=keys.integer("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=keys.optional_integer("num_key_value_heads") or heads,
        max_position_embeddings=_max_positions(keys),
        rms_norm_eps=keys.number("rms_norm_eps"),
        tie_word_embeddings=keys.flag("tie_word_embeddings"),
        initializer_range=keys.number("initializer_range"),
        head_dim=_head_dim(keys),
        **_rope(keys),
        **_window(keys, is_sparse),
        **(_experts(keys) if is_sparse else {}),
    )


def config_to_json(
    config: Qwen2Config,
    *,
    dtype: str = "bfloat16",
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> dict[str, Any]:
    """The keys of a `config.json` that transformers 4 and 5 and vLLM load.

    Args:
        config: The shape of the model.
        dtype: In which its weights are stored, such as `bfloat16`.
        bos_token_id: Written as it is.
        eos_token_id: Written as it is; further ones belong in `generation_config.json`.
    """
    model_type = "qwen2_moe" if config.num_experts else "qwen2"
    published: dict[str, Any] = {
        "architectures": [MODEL_TYPES[model_type] + "ForCausalLM"],
        "model_type": model_type,
        "torch_dtype": dtype,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "use_cache": True,
        "rope_scaling": _yarn_to_json(config.rope_scaling),
    }
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
                "rope_theta", "rms_norm_eps", "tie_word_embeddings", "initializer_range",
                "use_sliding_window", "sliding_window", "max_window_layers"):  # fmt: skip
        published[key] = getattr(config, key)
    if config.head_dim is not None:
        published["head_dim"] = config.head_dim
    if config.use_sliding_window:
        published["layer_types"] = [
            "full_attention" if config.window(layer) is None else "sliding_attention"
            for layer in range(config.num_hidden_layers)
        ]
    return published | (_experts_to_json(config) if config.num_experts else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationDefaults:
    """How a checkpoint wants its tokens chosen; field names as in `generation_config.json`.

    A field that the file leaves out is off here, where transformers would take a `top_k` of 50.
    """

    do_sample: bool = False
    """Whether to sample; else the likeliest token is taken."""

    temperature: float = 1.0
    """Divides the logits."""

    top_p: float = 1.0
    """The least probability that the tokens to choose from hold together."""

    top_k: int | None = None
    """The most tokens to choose from."""

    repetition_penalty: float = 1.0
    """Divides the positive logits of tokens seen before, multiplies the negative ones."""

    max_new_tokens: int | None = None
    """The most tokens of a completion, where the checkpoint names a number."""

    eos_token_ids: tuple[int, ...] = ()
    """Any of these ends a completion."""

    pad_token_id: int | None = None
    """Fills up where a rectangle is needed."""

    bos_token_id: int | None = None
    """Recorded only: no Qwen2 is given one."""


def family_defaults(
    config: Qwen2Config, *, chat: bool, eos_token_ids: tuple[int, ...]
) -> GenerationDefaults:
    """What Qwen2's own files say, for a checkpoint that carries none, such as a GGUF file.

    Instruct models: the model cards' 0.7, 0.8, 20, with a penalty of 1.1 up to 1.5B (a width of
    1536) and 1.05 above.  Base models are decoded greedily.
    """
    if not chat:
        return GenerationDefaults(eos_token_ids=eos_token_ids)
    return GenerationDefaults(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        top_k=20,
        repetition_penalty=1.1 if config.hidden_size <= 1536 else 1.05,
        eos_token_ids=eos_token_ids,
    )


def read_generation(directory: Path) -> GenerationDefaults:
    """The defaults of a checkpoint's directory.

    Without a `generation_config.json` they are those of `GenerationDefaults`, with the end of
    sequence that `config.json` names.

    Raises:
        CheckpointError: The file is damaged, or a value is of the wrong type or out of range.
    """
    path = directory / GENERATION_FILE
    published = read_json(directory / CONFIG_FILE)
    own = read_json(path) if path.is_file() else {}
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    try:
        return generation_from_json({key: published.get(key) for key in ids} | own)
    except ConfigError as error:
        raise CheckpointError(f"`{path}`: {one_line(str(error))}") from error


def generation_from_json(published: Mapping[str, Any]) -> GenerationDefaults:
    """The defaults that the keys of a `generation_config.json` stand for.

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """
    given = {key: value for key, value in published.items() if value is not None}
    keys = Keys(given, {"do_sample": False, "temperature": 1.0, "top_p": 1.0,
                        "repetition_penalty": 1.0})  # fmt: skip
    eos = given.get("eos_token_id", [])
    eos = eos if isinstance(eos, list) else [eos]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in eos):
        raise keys.wrong("eos_token_id", "an integer or a list of integers")
    for key in ("temperature", "top_p", "repetition_penalty"):
        if not 0 <= keys.number(key) < float("inf"):
            raise keys.wrong(key, "a number from 0 up")
    return GenerationDefaults(
        do_sample=keys.flag("do_sample"),
        temperature=keys.number("temperature"),
        top_p=keys.number("top_p"),
        top_k=keys.optional_integer("top_k") or None,
        repetition_penalty=keys.number("repetition_penalty"),
        max_new_tokens=keys.optional_integer("max_new_tokens"),
        eos_token_ids=tuple(eos),
        pad_token_id=keys.optional_integer("pad_token_id"),
        bos_token_id=keys.optional_integer("bos_token_id"),
    )


def generation_to_json(defaults: GenerationDefaults) -> dict[str, Any]:
    """The keys of a `generation_config.json`; sampling's own only where there is sampling.

    transformers refuses to save a file that names a temperature and does not sample.
    """
    sampling = {"temperature": defaults.temperature, "top_p": defaults.top_p,
                "top_k": defaults.top_k or 0}  # fmt: skip
    eos = list(defaults.eos_token_ids)
    published = {
        "do_sample": defaults.do_sample,
        **(sampling if defaults.do_sample else {}),
        "repetition_penalty": defaults.repetition_penalty,
        "max_new_tokens": defaults.max_new_tokens,
        "eos_token_id": (eos if len(eos) > 1 else eos[0]) if eos else None,
        "pad_token_id": defaults.pad_token_id,
        "bos_token_id": defaults.bos_token_id,
    }
    return {key: value for key, value in published.items() if value is not None}


def _architecture(published: Mapping[str, Any]) -> str:
    """The `model_type`, its architectures being known ones.

    Raises:
        ConfigError: They are not.
    """
    model_type = published.get("model_type")
    names = published.get("architectures") or []
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise ConfigError(
            f"the model is of type `{model_type!s:.40}`; {' and '.join(MODEL_TYPES)} are read"
        )
    known = [MODEL_TYPES[model_type] + ending for ending in _ARCHITECTURES]
    for name in names if isinstance(names, list) else [names]:
        if name not in known:
            raise ConfigError(f"the model is a `{name!s:.60}`; {', '.join(known)} are read")
    return model_type


def _check_supported(keys: Keys) -> None:
    """Refuse what would change the arithmetic in a way that no Qwen2 here has."""
    for key in ("hidden_act", "use_mrope", "qkv_bias", "partial_rotary_factor"):
        if keys.get(key) != keys.defaults[key]:
            raise ConfigError(
                f"`{key}` is {keys.get(key)!r:.40}; only {keys.defaults[key]!r} is supported"
            )


def _head_dim(keys: Keys) -> int | None:
    """The width of a head where it is not the usual one."""
    heads, head_dim = keys.integer("num_attention_heads"), keys.optional_integer("head_dim")
    usual = heads > 0 and head_dim == keys.integer("hidden_size") / heads
    return None if usual else head_dim


def _max_positions(keys: Keys) -> int:
    positions = keys.integer("max_position_embeddings")
    trained = keys.table("dual_chunk_attention_config").get("original_max_position_embeddings")
    return min(positions, trained) if isinstance(trained, int) else positions


def _rope(keys: Keys) -> dict[str, Any]:
    """Base and stretch of the rotary frequencies, in either version's form.

    Raises:
        ConfigError: The stretch is of another kind than YaRN, or has settings that are not known.
    """
    rope = keys.table("rope_scaling") or keys.table("rope_parameters")
    theta = Keys(rope, {"rope_theta": keys.get("rope_theta")}).number("rope_theta")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "yarn"):
        raise ConfigError(f"rotary scaling of type `{kind!s:.40}` is not known; yarn is")
    if unknown := sorted(rope.keys() - _ROPE_KEYS - _YARN_KEYS):
        raise ConfigError(f"rotary scaling has unknown settings: {', '.join(unknown)!s:.80}")
    if rope.get("partial_rotary_factor") not in (None, 1):
        raise ConfigError("`partial_rotary_factor` must be 1")
    return {"rope_theta": theta, "rope_scaling": _yarn(keys, rope) if kind == "yarn" else None}


def _yarn(keys: Keys, rope: dict[str, Any]) -> Yarn:
    defaults = {"original_max_position_embeddings": keys.get("max_position_embeddings")}
    stretch = Keys(rope, defaults)
    settings: dict[str, Any] = {
        key: stretch.number(key)
        for key in ("beta_fast", "beta_slow", "attention_factor")
        if rope.get(key) is not None
    }
    return Yarn(
        factor=stretch.number("factor"),
        original_max_position_embeddings=stretch.integer("original_max_position_embeddings"),
        **settings,
    )


def _window(keys: Keys, is_sparse: bool) -> dict[str, Any]:
    uses = keys.flag("use_sliding_window")
    window = keys.optional_integer("sliding_window")
    return {
        "use_sliding_window": uses and window is not None,
        "sliding_window": window,
        "max_window_layers": keys.integer("max_window_layers"),
        "layer_types": _layer_types(keys, is_sparse) if uses else None,
    }


def _layer_types(keys: Keys, is_sparse: bool) -> tuple[LayerType, ...] | None:
    """The layers' kinds as listed; of a mixture of experts, else, as transformers 5 makes them.

    There every other layer of the first `max_window_layers` is windowed, which is not what it
    does for dense models.  No published checkpoint has a window.
    """
    listed = keys.get("layer_types")
    if listed is None and is_sparse:
        last = keys.integer("max_window_layers")
        windowed = [i % 2 == 0 and i < last for i in range(keys.integer("num_hidden_layers"))]
        return tuple("sliding_attention" if yes else "full_attention" for yes in windowed)
    if listed is None:
        return None
    if not isinstance(listed, list) or not set(listed) <= {"full_attention", "sliding_attention"}:
        raise keys.wrong("layer_types", "a list of `full_attention` and `sliding_attention`")
    return tuple(listed)


def _experts(keys: Keys) -> dict[str, Any]:
    dense = keys.get("mlp_only_layers") or []
    if not isinstance(dense, list) or not all(isinstance(layer, int) for layer in dense):
        raise keys.wrong("mlp_only_layers", "a list of integers")
    sizes = ("num_experts", "num_experts_per_tok", "moe_intermediate_size",
             "shared_expert_intermediate_size", "decoder_sparse_step")  # fmt: skip
    return {
        **{key: keys.integer(key) for key in sizes},
        "norm_topk_prob": keys.flag("norm_topk_prob"),
        "router_aux_loss_coef": keys.number("router_aux_loss_coef"),
        "mlp_only_layers": tuple(dense),
    }


def _yarn_to_json(yarn: Yarn | None) -> dict[str, Any] | None:
    if yarn is None:
        return None
    stretch = {
        "rope_type": "yarn",
        "type": "yarn",
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_max_position_embeddings,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
    }
    if yarn.attention_factor is not None:
        stretch["attention_factor"] = yarn.attention_factor
    return stretch


def _experts_to_json(config: Qwen2Config) -> dict[str, Any]:
    return {
        "num_experts": config.num_experts,
        "num_experts_per_tok": config.num_experts_per_tok,
        "moe_intermediate_size": config.moe_intermediate_size,
        "shared_expert_intermediate_size": config.shared_expert_intermediate_size,
        "decoder_sparse_step": config.decoder_sparse_step,
        "norm_topk_prob": config.norm_topk_prob,
        "router_aux_loss_coef": config.router_aux_loss_coef,
        "output_router_logits": False,
        "mlp_only_layers": list(config.mlp_only_layers),
    }
