"""A directory of safetensors, as the hubs hold them, as a checkpoint."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tongwen.checkpoint.configs import (
    CONFIG_FILE,
    GenerationDefaults,
    read_config,
    read_generation,
)
from tongwen.checkpoint.mapped import Part
from tongwen.checkpoint.packed import Packed, open_weights
from tongwen.checkpoint.tensor_names import check_tensors
from tongwen.model.config import Qwen2Config
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.cache import cached_tokenizer
from tongwen.tokenizer.files import read_chat_template, read_tokenizer

_TOKENIZER_SUFFIXES = (".json", ".txt", ".tiktoken")

_GGML = {torch.bfloat16: "BF16", torch.float16: "F16"}
_CARD, _CARD_BYTES = "README.md", 1 << 20

# Old files state what follows from the config.
_RECOMPUTED = ".rotary_emb.inv_freq"


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
        self.path, self.config, self._weights = path, read_config(path), open_weights(path)
        found = {name: self._weights.shape(name) for name in self._weights.names()}
        extras = {name for name in found if name.endswith(_RECOMPUTED)}
        if self.config.tie_word_embeddings:
            extras.add("lm_head.weight")  # some files hold the tied embedding twice
        check_tensors(path, self.config, found, extras)
        self._names = [name for name in found if name not in extras]

    def names(self) -> list[str]:
        """Published names of the tensors that make the model."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._weights.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """Dtype of a tensor, as stored."""
        return self._weights.dtype(name)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """The values, memory mapped where `dtype` is that of the file."""
        values = self._weights.tensor(name)
        return values if dtype is None else values.to(dtype)

    def format(self, name: str) -> str:
        """The GGML name of how a tensor is stored; `packed` for GPTQ and AWQ."""
        if isinstance(self._weights, Packed) and len(self.shape(name)) == 2:
            return "packed"
        return _GGML.get(self.dtype(name), "F32")

    def parts(self, name: str, num_rows: int) -> Iterator[Part]:
        """A matrix as stored, so many rows at a time; in float32 what is stored otherwise.

        Rows that were read no longer count as resident when the next are asked for.
        """
        format = _GGML.get(self.dtype(name), "F32")
        for part in self._weights.parts(name, num_rows):
            whole = part.float() if format == "F32" else part
            yield format, whole.contiguous().view(torch.uint8)

    def files(self) -> list[Path]:
        """The files that its tensors are read from, and the config, which says how."""
        return [self.path / CONFIG_FILE, *self._weights.files()]

    def tokenizer(self, cache: Path | None = None) -> Tokenizer:
        """The tokenizer beside the weights, kept parsed in `cache`."""
        if cache is None:
            return read_tokenizer(self.path)
        return cached_tokenizer(self._tokenizer_digest(), cache, lambda: read_tokenizer(self.path))

    def _tokenizer_digest(self) -> str:
        """Digest of every file that the tokenizer may be read from."""
        digest = hashlib.sha256()
        for file in sorted(self.path.iterdir()):
            if file.suffix in _TOKENIZER_SUFFIXES and file.is_file():
                digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

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
        stated = (
            line.partition(":")[2].strip(" \"'") for line in lines if line.startswith("license:")
        )
        return next(stated, None)
