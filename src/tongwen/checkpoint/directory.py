"""A directory of safetensors, as the hubs hold them, as a checkpoint."""

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tongwen.checkpoint.configs import GenerationDefaults, read_config, read_generation
from tongwen.checkpoint.shards import Shards
from tongwen.model.config import Qwen2Config
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.files import read_chat_template, read_tokenizer

_CARD, _CARD_BYTES = "README.md", 1 << 20


class Directory:
    """One model as `config.json`, safetensors and tokenizer files; opened, nothing read.

    Args:
        path: The directory.

    Raises:
        CheckpointError: Files are missing or damaged.
        ConfigError: The config is of another architecture.
    """

    path: Path
    config: Qwen2Config

    def __init__(self, path: Path) -> None:
        self.path, self.config, self._shards = path, read_config(path), Shards(path)

    def names(self) -> list[str]:
        """Published names of all tensors; a head that is only the tied embedding is left out."""
        names = self._shards.names()
        if self.config.tie_word_embeddings and "model.embed_tokens.weight" in names:
            return [name for name in names if name != "lm_head.weight"]
        return names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._shards.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """Dtype of a tensor, as stored."""
        return self._shards.dtype(name)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """The values, memory mapped where `dtype` is that of the file."""
        values = self._shards.tensor(name)
        return values if dtype is None else values.to(dtype)

    def tokenizer(self, cache: Path | None = None) -> Tokenizer:
        """The tokenizer beside the weights; its own files load fast, so nothing is cached."""
        return read_tokenizer(self.path)

    @cached_property
    def generation(self) -> GenerationDefaults:
        """What `generation_config.json` recommends."""
        return read_generation(self.path)

    @cached_property
    def chat_template(self) -> str | None:
        """The Jinja template of conversations, where there is one."""
        return read_chat_template(self.path)

    @cached_property
    def licence(self) -> str | None:
        """What the model card's front matter states, where there is a card."""
        card = self.path / _CARD
        if not card.is_file() or card.stat().st_size > _CARD_BYTES:
            return None
        lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
        stated = (line.partition(":")[2].strip() for line in lines if line.startswith("license:"))
        return next(stated, None)
