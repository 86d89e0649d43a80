"""Saved directories, loaded by us and by transformers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from tongwen.checkpoint.configs import GenerationDefaults, read_config, read_generation
from tongwen.checkpoint.save import Lineage, model_card, save_checkpoint
from tongwen.checkpoint.shards import INDEX_FILE, SINGLE_FILE, Shards
from tongwen.errors import CheckpointError
from tongwen.model.config import Qwen2Config
from tongwen.tokenizer.bpe import Tokenizer, byte_alphabet
from tongwen.tokenizer.files import read_tokenizer

Weights = dict[str, torch.Tensor]
MakeWeights = Callable[[Qwen2Config], Weights]
GENERATION = GenerationDefaults(
    do_sample=True, temperature=0.7, top_k=20, eos_token_ids=(5, 3), pad_token_id=3
)


@pytest.fixture(params=["tied", "untied", "sparse", "windowed"])
def config(
    request: pytest.FixtureRequest, tiny_config: Qwen2Config, sparse_config: Qwen2Config
) -> Qwen2Config:
    return {
        "tied": tiny_config,
        "untied": replace(tiny_config, tie_word_embeddings=False),
        "sparse": sparse_config,
        "windowed": replace(
            tiny_config, use_sliding_window=True, sliding_window=8, max_window_layers=2
        ),
    }[request.param]


def test_what_is_saved_is_read_back(
    config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    weights, path = random_weights(config), tmp_path / "saved"
    save_checkpoint(path, config=config, tensors=weights.items(), generation=GENERATION)
    shards = Shards(path)
    assert set(shards.names()) == set(weights)
    assert all(torch.equal(shards.tensor(name), weights[name]) for name in weights)
    assert replace(read_config(path), layer_types=None) == config
    assert read_generation(path) == GENERATION
    assert sorted(tmp_path.iterdir()) == [path]


def test_transformers_loads_what_is_saved(
    config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    weights, path = random_weights(config), tmp_path / "saved"
    save_checkpoint(
        path,
        config=config,
        tensors=weights.items(),
        generation=GENERATION,
        max_shard_bytes=20_000,
    )
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        path, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs = dict(model.named_parameters())
    for name, values in weights.items():
        if ".experts." not in name:
            assert torch.equal(theirs[name], values), name
        elif "up_proj" in name:
            layer, _, expert = name.partition(".experts.")
            both = torch.cat((weights[name.replace("up_proj", "gate_proj")], values))
            number = int(expert.split(".")[0])
            assert torch.equal(theirs[f"{layer}.experts.gate_up_proj"][number], both), name
    assert model.config.tie_word_embeddings == config.tie_word_embeddings
    assert model.generation_config.eos_token_id == [5, 3]
    assert model.dtype == torch.float32


def test_the_tokenizer_is_saved_beside_the_weights(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    ends = {"<|endoftext|>": 256, "<|im_end|>": 257}
    tokenizer = Tokenizer.from_vocabulary(list(byte_alphabet().values()), [], control=ends)
    path = tmp_path / "saved"
    save_checkpoint(
        path,
        config=tiny_config,
        tensors=random_weights(tiny_config).items(),
        generation=replace(GENERATION, eos_token_ids=(257, 256), pad_token_id=256),
        tokenizer=tokenizer,
        chat_template="{{ messages[0].content }}",
    )
    theirs = transformers.AutoTokenizer.from_pretrained(path)
    assert (theirs.eos_token, theirs.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert theirs.model_max_length == tiny_config.max_position_embeddings
    assert theirs("a é<|im_end|>")["input_ids"] == tokenizer.encode(
        "a é<|im_end|>", allow_control=True
    )
    assert theirs.apply_chat_template([{"role": "user", "content": "b"}], tokenize=False) == "b"
    assert read_tokenizer(path).digest == tokenizer.digest


def test_a_tokenizer_without_an_end_is_refused(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    letters = list(byte_alphabet().values())
    with pytest.raises(CheckpointError, match="name a token that ends a completion"):
        save_checkpoint(
            tmp_path / "saved",
            config=tiny_config,
            tensors=random_weights(tiny_config).items(),
            generation=GenerationDefaults(),
            tokenizer=Tokenizer.from_vocabulary(letters, [], control={"<|endoftext|>": 256}),
        )
    assert list(tmp_path.iterdir()) == []


def test_shards_are_bounded_and_indexed(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    weights, path = random_weights(tiny_config), tmp_path / "saved"
    save_checkpoint(
        path,
        config=tiny_config,
        tensors=weights.items(),
        generation=GENERATION,
        max_shard_bytes=20_500,
    )
    files = sorted(file.name for file in path.glob("*.safetensors"))
    assert files == [
        f"model-{n + 1:05d}-of-{len(files):05d}.safetensors" for n in range(len(files))
    ]
    assert len(files) > 1
    assert (path / INDEX_FILE).is_file()
    assert all((path / file).stat().st_size < 25_000 for file in files)
    assert len({(path / file).stat().st_mode for file in [*files, "config.json"]}) == 1
    shards = Shards(path)
    assert all(torch.equal(shards.tensor(name), weights[name]) for name in weights)


def test_a_tied_embedding_is_saved_once(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    weights = random_weights(tiny_config)
    both = weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}
    save_checkpoint(tmp_path / "s", config=tiny_config, tensors=both.items(), generation=GENERATION)
    assert "lm_head.weight" not in Shards(tmp_path / "s").names()


def test_parts_of_one_tensor_are_saved_apart(
    sparse_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    weights = random_weights(sparse_config)
    names = [name for name in weights if ".experts." in name and "up_proj" in name]
    stack = torch.stack([weights[name] for name in names])
    slices = weights | dict(zip(names, stack, strict=True))
    save_checkpoint(
        tmp_path / "s", config=sparse_config, tensors=slices.items(), generation=GENERATION
    )
    shards = Shards(tmp_path / "s")
    assert all(torch.equal(shards.tensor(name), weights[name]) for name in weights)
    assert (tmp_path / "s" / SINGLE_FILE).is_file()


def test_the_stated_dtype_holds_every_tensor(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    halves = {name: values.bfloat16() for name, values in random_weights(tiny_config).items()}
    path = tmp_path / "s"
    save_checkpoint(path, config=tiny_config, tensors=halves.items(), generation=GENERATION)
    assert str(transformers.AutoConfig.from_pretrained(path).dtype) == "torch.bfloat16"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model.norm.weight": None}, "lacks tensors: `model.norm.weight`"),
        ({"model.norm.bias": torch.ones(32)}, "has unknown tensors: `model.norm.bias`"),
        ({"model.norm.weight": torch.ones(8)}, r"should have shape \[32\], has \[8\]"),
    ],
)
def test_tensors_that_are_not_the_models_leave_nothing_behind(
    change: dict[str, torch.Tensor | None],
    what: str,
    tiny_config: Qwen2Config,
    random_weights: MakeWeights,
    tmp_path: Path,
) -> None:
    changed = random_weights(tiny_config) | change
    tensors = [(name, values) for name, values in changed.items() if values is not None]
    with pytest.raises(CheckpointError, match=what):
        save_checkpoint(tmp_path / "s", config=tiny_config, tensors=tensors, generation=GENERATION)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_former_directory_as_it_was(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    path.mkdir()
    (path / "mine.txt").write_text("kept")

    def broken() -> Iterator[tuple[str, torch.Tensor]]:
        yield from list(random_weights(tiny_config).items())[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(
            path, config=tiny_config, tensors=broken(), generation=GENERATION, overwrite=True
        )
    assert [file.name for file in path.iterdir()] == ["mine.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_with_something_in_it_is_replaced_only_when_told(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    path, weights = tmp_path / "s", random_weights(tiny_config)
    path.mkdir()
    (path / "mine.txt").write_text("kept")
    with pytest.raises(CheckpointError, match="is not empty"):
        save_checkpoint(path, config=tiny_config, tensors=weights.items(), generation=GENERATION)
    assert (path / "mine.txt").is_file()
    save_checkpoint(
        path, config=tiny_config, tensors=weights.items(), generation=GENERATION, overwrite=True
    )
    assert not (path / "mine.txt").exists()
    assert (path / SINGLE_FILE).is_file()
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_directory_is_filled(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    path.mkdir()
    weights = random_weights(tiny_config)
    save_checkpoint(path, config=tiny_config, tensors=weights.items(), generation=GENERATION)
    assert (path / SINGLE_FILE).is_file()


def test_a_place_that_is_none_is_refused(
    tiny_config: Qwen2Config, random_weights: MakeWeights, tmp_path: Path
) -> None:
    weights = random_weights(tiny_config)
    (tmp_path / "file").write_text("")
    for path, what in ((tmp_path / "file", "is a file"), (tmp_path / "no" / "s", "is missing")):
        with pytest.raises(CheckpointError, match=what):
            save_checkpoint(
                path, config=tiny_config, tensors=weights.items(), generation=GENERATION
            )


def test_the_card_names_licence_and_parent() -> None:
    lineage = Lineage(
        name="mine", base_model="Qwen/Qwen2-0.5B", steps=("Tuned\non 10 rows.",), digest="ab12"
    )
    card = model_card("apache-2.0", lineage)
    _, front, body = card.split("---\n")
    assert 'license: "apache-2.0"' in front.splitlines()
    assert 'base_model: "Qwen/Qwen2-0.5B"' in front.splitlines()
    assert "- Tuned on 10 rows." in body.splitlines()
    assert "`ab12`" in body


def test_a_card_without_a_licence_says_so() -> None:
    card = model_card(None, Lineage(name="mine"))
    assert "license:" not in card
    assert "The licence is not known" in card
