"""`config.json` and `generation_config.json` as transformers 4 and 5 write them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers

from tongwen.checkpoint.configs import (
    GenerationDefaults,
    config_from_json,
    config_to_json,
    family_defaults,
    generation_from_json,
    generation_to_json,
    read_config,
    read_generation,
)
from tongwen.errors import CheckpointError, ConfigError
from tongwen.model.config import Qwen2Config, Yarn

QWEN2_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "initializer_range": 0.02,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.37.2",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN2_57B = {
    "architectures": ["Qwen2MoeForCausalLM"],
    "decoder_sparse_step": 1,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2_moe",
    "moe_intermediate_size": 2560,
    "norm_topk_prob": False,
    "num_attention_heads": 28,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 20480,
    "sliding_window": 65536,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
VERSION_5 = {key: value for key, value in QWEN2_7B.items() if key not in {"rope_theta"}} | {
    "dtype": "bfloat16",
    "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    "layer_types": ["full_attention"] * 28,
    "sliding_window": None,
    "head_dim": 128,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def test_a_published_dense_config_is_read() -> None:
    config = config_from_json(QWEN2_7B)
    assert (config.hidden_size, config.num_key_value_heads, config.vocab_size) == (3584, 4, 152064)
    assert (config.rope_theta, config.rms_norm_eps, config.head_size) == (1e6, 1e-6, 128)
    assert not config.tie_word_embeddings
    assert all(config.window(layer) is None for layer in range(28))


def test_a_published_mixture_of_experts_is_read() -> None:
    config = config_from_json(QWEN2_57B)
    assert (config.num_experts, config.num_experts_per_tok) == (64, 8)
    assert (config.moe_intermediate_size, config.shared_expert_intermediate_size) == (2560, 20480)
    assert all(config.is_sparse(layer) for layer in range(28))
    assert not config.norm_topk_prob


def test_versions_4_and_5_stand_for_the_same_model() -> None:
    old, new = config_from_json(QWEN2_7B), config_from_json(VERSION_5)
    assert replace(new, sliding_window=131072) == old


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps", 1e-5),  # Qwen2-72B
        ({"tie_word_embeddings": True}, "tie_word_embeddings", True),  # Qwen2-0.5B
        ({"rope_theta": 10000}, "rope_theta", 10_000.0),  # Qwen2-Math, R1-Distill; an integer
        ({"use_mrope": False}, "rope_theta", 1e6),  # Qwen2.5 base
        ({"sliding_window": None}, "sliding_window", None),  # Qwen2.5
        ({"num_key_value_heads": None}, "num_key_value_heads", 28),  # multi-head attention
        ({"rope_scaling": YARN}, "rope_scaling",
         Yarn(factor=4.0, original_max_position_embeddings=32768)),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "beta_fast": 16}}, "rope_scaling",
         Yarn(factor=2.0, original_max_position_embeddings=131072, beta_fast=16.0)),
        ({"rope_parameters": YARN | {"rope_theta": 5e5, "attention_factor": 1.5}}, "rope_scaling",
         Yarn(factor=4.0, original_max_position_embeddings=32768, attention_factor=1.5)),
        ({"max_position_embeddings": 1010000, "dual_chunk_attention_config":
          {"chunk_size": 262144, "original_max_position_embeddings": 262144}},
         "max_position_embeddings", 262144),  # Qwen2.5-7B-Instruct-1M
        ({"head_dim": 64}, "head_dim", 64),
        ({"rotary_emb_base": 1000000, "seq_length": 65536}, "rope_theta", 1e6),  # CodeQwen1.5
    ],
)  # fmt: skip
def test_what_published_checkpoints_vary_is_read(
    changes: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(config_from_json(QWEN2_7B | changes), field) == value


@pytest.mark.parametrize("kind", [transformers.Qwen2Config, transformers.Qwen2MoeConfig])
def test_missing_fields_are_what_transformers_takes(kind: Any) -> None:
    theirs, ours = kind(), config_from_json({"model_type": kind.model_type})
    assert theirs.rope_parameters["rope_theta"] == ours.rope_theta
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                 "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
                 "initializer_range", "rms_norm_eps", "tie_word_embeddings",
                 "use_sliding_window", "max_window_layers"):  # fmt: skip
        assert getattr(theirs, name) == getattr(ours, name), name
    for name in ("num_experts", "num_experts_per_tok", "moe_intermediate_size",
                 "shared_expert_intermediate_size", "decoder_sparse_step"):  # fmt: skip
        if kind is transformers.Qwen2MoeConfig:
            assert getattr(theirs, name) == getattr(ours, name), name


@pytest.mark.parametrize("published", [QWEN2_7B, QWEN2_57B], ids=["dense", "sparse"])
@pytest.mark.parametrize("listed", [None, ["sliding_attention", "full_attention"] * 14])
def test_windowed_layers_are_those_of_transformers(
    published: dict[str, Any], listed: list[str] | None
) -> None:
    window = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 20}
    published = published | window | ({} if listed is None else {"layer_types": listed})
    kinds = {"qwen2": transformers.Qwen2Config, "qwen2_moe": transformers.Qwen2MoeConfig}
    theirs = kinds[published["model_type"]].from_dict(dict(published)).layer_types
    ours = config_from_json(published)
    windowed = [ours.window(layer) == 64 for layer in range(28)]
    assert windowed == [kind == "sliding_attention" for kind in theirs]
    assert any(windowed)
    assert not all(windowed)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model_type": "llama"}, "of type `llama`; qwen2 and qwen2_moe are read"),
        ({"model_type": None}, "of type `None`"),
        ({"architectures": ["Qwen2ForRewardModel"]}, "is a `Qwen2ForRewardModel`; Qwen2ForCausal"),
        ({"use_mrope": True}, "`use_mrope` is True; only False is supported"),
        ({"hidden_act": "gelu"}, "`hidden_act` is 'gelu'; only 'silu' is supported"),
        ({"partial_rotary_factor": 0.5}, "`partial_rotary_factor` is 0.5"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "of type `linear` is not known"),
        ({"rope_scaling": YARN | {"mscale": 1}}, "unknown settings: mscale"),
        ({"rope_scaling": {"type": "yarn"}}, "`factor` should be a number, is None"),
        ({"rope_scaling": [1]}, r"`rope_scaling` should be an object or null, is \[1\]"),
        ({"hidden_size": "3584"}, "`hidden_size` should be an integer, is '3584'"),
        ({"hidden_size": True}, "`hidden_size` should be an integer, is True"),
        ({"rms_norm_eps": float("nan")}, "`rms_norm_eps` should be a number, is nan"),
        ({"rope_theta": 10**400}, "`rope_theta` should be a number"),
        ({"tie_word_embeddings": 1}, "`tie_word_embeddings` should be true or false, is 1"),
        ({"num_key_value_heads": 3}, "must be a multiple"),
        ({"use_sliding_window": True, "layer_types": ["windowed"]}, "`layer_types` should be a"),
    ],
)
def test_what_no_qwen2_does_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        config_from_json(QWEN2_7B | changes)


VARIETIES = {
    "dense": config_from_json(QWEN2_7B),
    "sparse": config_from_json(QWEN2_57B),
    "yarn": config_from_json(QWEN2_7B | {"rope_scaling": YARN}),
    "window": config_from_json(
        QWEN2_7B | {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 20}
    ),
    "wide heads": config_from_json(QWEN2_7B | {"head_dim": 64}),
    "some dense layers": config_from_json(QWEN2_57B | {"mlp_only_layers": [0, 3]}),
}


@pytest.mark.parametrize("config", VARIETIES.values(), ids=VARIETIES)
def test_a_written_config_is_read_back_by_us_and_by_transformers(
    config: Qwen2Config, tmp_path: Path
) -> None:
    written = config_to_json(config, dtype="float32", bos_token_id=1, eos_token_id=2)
    (tmp_path / "config.json").write_text(json.dumps(written))
    ours = read_config(tmp_path)
    windows = [config.window(layer) for layer in range(28)]
    assert [ours.window(layer) for layer in range(28)] == windows
    assert replace(ours, layer_types=None) == replace(config, layer_types=None)
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    again = config_from_json(theirs.to_dict())
    # transformers forgets the window that is not used.
    plain = replace(config, layer_types=None, sliding_window=None, use_sliding_window=False)
    assert replace(again, layer_types=None, sliding_window=None, use_sliding_window=False) == plain
    assert [again.window(layer) for layer in range(28)] == windows
    assert (theirs.bos_token_id, theirs.eos_token_id) == (1, 2)
    assert str(theirs.dtype) == "torch.float32"


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, "null", "\udcff"])
def test_a_damaged_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="should hold") as refusal:
        read_config(tmp_path)
    assert str(refusal.value).isprintable()


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no `config.json`"):
        read_config(tmp_path)


INSTRUCT = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "repetition_penalty": 1.1,
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 20,
    "transformers_version": "4.37.0",
}


def test_generation_defaults_are_read_and_written_the_same() -> None:
    defaults = generation_from_json(INSTRUCT)
    assert (defaults.eos_token_ids, defaults.top_k) == ((151645, 151643), 20)
    written = generation_to_json(defaults)
    assert written == {key: INSTRUCT[key] for key in written}
    assert INSTRUCT.keys() - written.keys() == {"transformers_version"}


@pytest.mark.parametrize(
    "defaults",
    [
        GenerationDefaults(),
        GenerationDefaults(eos_token_ids=(3,), max_new_tokens=2048),
        GenerationDefaults(do_sample=True, temperature=0.5),
    ],
)
def test_written_generation_defaults_satisfy_transformers(
    defaults: GenerationDefaults, tmp_path: Path
) -> None:
    written = generation_to_json(defaults)
    (tmp_path / "generation_config.json").write_text(json.dumps(written))
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    theirs.validate(strict=True)
    assert theirs.do_sample == defaults.do_sample
    assert generation_from_json(written) == defaults


def test_the_end_of_sequence_comes_from_the_config_where_nothing_else_names_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_7B))
    assert read_generation(tmp_path).eos_token_ids == (151643,)
    (tmp_path / "generation_config.json").write_text(json.dumps(INSTRUCT))
    assert read_generation(tmp_path).eos_token_ids == (151645, 151643)


@pytest.mark.parametrize(
    "change",
    [{"temperature": "hot"}, {"top_p": -1}, {"eos_token_id": ["a"]}, {"top_k": 1.5},
     {"repetition_penalty": float("inf")}, {"do_sample": "yes"}],
)  # fmt: skip
def test_generation_defaults_of_a_wrong_type_are_refused(
    change: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_7B))
    (tmp_path / "generation_config.json").write_text(json.dumps(INSTRUCT | change))
    with pytest.raises(CheckpointError, match=next(iter(change))):
        read_generation(tmp_path)


@pytest.mark.parametrize(
    ("width", "penalty"), [(896, 1.1), (1536, 1.1), (2048, 1.05), (8192, 1.05)]
)
def test_the_familys_penalty_depends_on_the_size(width: int, penalty: float) -> None:
    config = config_from_json(QWEN2_7B | {"hidden_size": width, "num_attention_heads": 4})
    found = family_defaults(config, chat=True, eos_token_ids=(1,))
    assert (found.repetition_penalty, found.temperature, found.top_p) == (penalty, 0.7, 0.8)
    assert not family_defaults(config, chat=False, eos_token_ids=(1,)).do_sample
