"""Save a checkpoint that transformers and vLLM load: a directory, whole or not there at all."""

import functools
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tongwen.checkpoint.configs import (
    CONFIG_FILE,
    GENERATION_FILE,
    GenerationDefaults,
    config_to_json,
    generation_to_json,
)
from tongwen.checkpoint.shards import INDEX_FILE, SINGLE_FILE
from tongwen.checkpoint.tensor_names import check_shapes, entries
from tongwen.errors import CheckpointError
from tongwen.model.config import Qwen2Config
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.save import save_tokenizer
from tongwen.version import __version__

CARD_FILE = "README.md"
"""Name of the model card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a checkpoint comes from, for its card."""

    name: str
    """What it is called."""

    base_model: str | None = None
    """The checkpoint that it was derived from, as a hub or the store names it."""

    steps: tuple[str, ...] = ()
    """What was done to it, one sentence each."""

    digest: str | None = None
    """SHA-256 of the file that it was read from."""


def save_checkpoint(
    directory: Path,
    *,
    config: Qwen2Config,
    tensors: Iterable[tuple[str, Tensor]],
    generation: GenerationDefaults,
    tokenizer: Tokenizer | None = None,
    chat_template: str | None = None,
    licence: str | None = None,
    lineage: Lineage | None = None,
    max_shard_bytes: int = 5_000_000_000,
    overwrite: bool = False,
) -> None:
    """Write weights, configs, tokenizer and card.

    All is written beside the directory first and takes its name when it is whole.  No more than a
    shard of weights is held at a time; a tied head is left out, for the embedding is it.

    Args:
        directory: Where to; its parent must exist.
        config: The shape of the model.
        tensors: Published names and values, all of one model, experts each on their own.
        generation: How tokens are to be chosen.
        tokenizer: Its files are written beside the weights.
        chat_template: Jinja, kept with the tokenizer.
        licence: Identifier of the licence, such as `apache-2.0`.
        lineage: Where the checkpoint comes from.
        max_shard_bytes: The most that one file of weights may take.
        overwrite: Replace a directory that is not empty.

    Raises:
        CheckpointError: The directory is not empty, the tensors are not those of the config, or
            no token ends a completion.
    """
    with _whole(directory, overwrite) as draft:
        written = _Written(draft, max_shard_bytes)
        for name, tensor in tensors:
            if name != "lm_head.weight" or not config.tie_word_embeddings:
                written.add(name, tensor)
        expected = {name: entry.shape for name, entry in entries(config).items()}
        check_shapes(directory, expected, written.shapes)
        written.finish()
        published = config_to_json(
            config,
            dtype=str(functools.reduce(torch.promote_types, written.dtypes)).removeprefix("torch."),
            bos_token_id=generation.bos_token_id,
            eos_token_id=next(iter(generation.eos_token_ids), None),
        )
        _write_json(draft / CONFIG_FILE, published)
        _write_json(draft / GENERATION_FILE, generation_to_json(generation))
        if tokenizer is not None:
            _write_tokenizer(draft, tokenizer, config, generation, chat_template)
        card = model_card(licence, lineage or Lineage(name=directory.name))
        (draft / CARD_FILE).write_text(card, encoding="utf-8")


def model_card(licence: str | None, lineage: Lineage) -> str:
    """The text of a `README.md` that names licence and parent, as the hubs read them."""
    front: dict[str, Any] = {"library_name": "transformers"}
    if licence is not None:
        front["license"] = licence
    if lineage.base_model is not None:
        front["base_model"] = lineage.base_model
    # JSON strings are YAML strings, whatever is in them.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()]
    body = [f"# {_one_line(lineage.name)}"]
    if lineage.base_model is not None:
        body.append(f"Derived from `{_one_line(lineage.base_model)}`.")
    if lineage.steps:
        body.append("\n".join(f"- {_one_line(step)}" for step in lineage.steps))
    if lineage.digest is not None:
        body.append(f"SHA-256 of the file it was read from: `{lineage.digest}`.")
    body.append(
        f"Licence: {licence}, that of the parent where there is one."
        if licence is not None
        else "The licence is not known; that of the parent applies."
    )
    body.append(f"Written by Tongwen {__version__}.")
    return "\n".join(["---", *lines, "---", ""]) + "\n" + "\n\n".join(body) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def _whole(directory: Path, overwrite: bool) -> Iterator[Path]:
    """A scratch directory that becomes `directory` if nothing goes wrong, and is gone otherwise."""
    if directory.exists() and not directory.is_dir():
        raise CheckpointError(f"`{directory}` is a file; a directory is written")
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise CheckpointError(
            f"`{directory}` is not empty", hint="choose another directory, or allow overwriting"
        )
    if not directory.parent.is_dir():
        raise CheckpointError(
            f"`{directory.parent}`, where `{directory.name}` is to be, is missing"
        )
    draft = directory.with_name(f".{directory.name}-{secrets.token_hex(4)}")
    draft.mkdir()
    try:
        yield draft
        _replace(directory, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(directory: Path, draft: Path) -> None:
    """Give the draft the directory's name; what bore it goes only when that is done."""
    if not directory.exists():
        draft.rename(directory)
        return
    former = draft.with_name(f"{draft.name}-former")
    directory.rename(former)
    try:
        draft.rename(directory)
    except OSError:
        former.rename(directory)
        raise
    shutil.rmtree(former)


def _write_tokenizer(
    draft: Path,
    tokenizer: Tokenizer,
    config: Qwen2Config,
    generation: GenerationDefaults,
    chat_template: str | None,
) -> None:
    eos = next(iter(generation.eos_token_ids), tokenizer.ends.eos_token_id)
    pad = generation.pad_token_id
    if eos is None:
        raise CheckpointError(
            "neither the generation defaults nor the tokenizer name a token that ends a completion"
        )
    save_tokenizer(
        tokenizer,
        draft,
        chat_template=chat_template,
        eos_token=tokenizer.decode([eos]),
        pad_token=None if pad is None else tokenizer.decode([pad]),
        model_max_length=config.max_position_embeddings,
    )


class _Written:
    """Files of weights in the making, each of bounded size, and the index if there are several."""

    def __init__(self, draft: Path, max_shard_bytes: int) -> None:
        self.draft, self.max_shard_bytes = draft, max_shard_bytes
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: set[torch.dtype] = set()
        self._shards: list[list[str]] = []
        self._pending: dict[str, Tensor] = {}
        self._pending_bytes = self._total_bytes = 0

    def add(self, name: str, tensor: Tensor) -> None:
        """Take one more tensor; writes a file when the next one would grow too large."""
        if name in self.shapes:
            raise CheckpointError(f"tensor `{name}` is to be saved twice")
        if self._pending and self._pending_bytes + tensor.nbytes > self.max_shard_bytes:
            self._flush()
        self.shapes[name] = tuple(tensor.shape)
        self.dtypes.add(tensor.dtype)
        self._pending[name] = _alone(tensor)
        self._pending_bytes += tensor.nbytes
        self._total_bytes += tensor.nbytes

    def finish(self) -> None:
        """Write what is left, and number the files; an index says which tensor is in which."""
        self._flush()
        if len(self._shards) == 1:
            self._part(0).rename(self.draft / SINGLE_FILE)
            return
        weight_map: dict[str, str] = {}
        for number, names in enumerate(self._shards):
            file = f"model-{number + 1:05d}-of-{len(self._shards):05d}.safetensors"
            self._part(number).rename(self.draft / file)
            weight_map |= dict.fromkeys(names, file)
        index = {"metadata": {"total_size": self._total_bytes}, "weight_map": weight_map}
        _write_json(self.draft / INDEX_FILE, index)

    def _flush(self) -> None:
        part = self._part(len(self._shards))
        save_file(self._pending, part, metadata={"format": "pt"})
        # The library lets none but the owner read; a checkpoint is as open as its directory.
        part.chmod(self.draft.stat().st_mode & 0o666)
        self._shards.append(list(self._pending))
        self._pending, self._pending_bytes = {}, 0

    def _part(self, number: int) -> Path:
        return self.draft / f"part-{number}.safetensors"


def _alone(tensor: Tensor) -> Tensor:
    """The tensor on the CPU with a storage of its own, as the format wants it."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
