"""What is known of a model without loading it: shape, format, template, vocabulary."""

import contextlib
import re
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.load import Source, open_checkpoint
from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.store import Store
from tongwen.errors import ModelNotFoundError, TokenizerError
from tongwen.model.account import count_parameters
from tongwen.model.config import Qwen2Config
from tongwen.server.config import ModelEntry
from tongwen.tokenizer.fim import fim_stop_ids
from tongwen.tokenizer.template import chat_format

_IN_NAME = re.compile(r"(?:^|[-.])(I?Q\d\w*|BF16|F16|F32)(?:[-.]|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the files of a model say."""

    local: LocalModel
    config: Qwen2Config
    generation: GenerationDefaults
    num_parameters: int
    quantization: str
    """How most of its weights are stored, in the words of GGUF."""

    template: str | None
    """Jinja."""

    licence: str | None
    can_call: bool
    """Whether it has a form for tool calls."""

    can_fill: bool
    """Whether its vocabulary has the control tokens of fill-in-the-middle."""

    vocab_size: int
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, format and shape of each."""

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file, else safetensors."""
        return self.local.path.suffix.lower() == ".gguf"

    @property
    def family(self) -> str:
        """The architecture, in the words of GGUF."""
        return "qwen2moe" if self.config.num_experts else "qwen2"


class ModelFacts:
    """The facts of a server's models, each read once for as long as its files stay.

    Args:
        store: Where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[Path, int], Facts] = {}

    def of(self, entry: ModelEntry) -> Facts:
        """The facts of an entry; reads the head of its files, so not from the event loop.

        Raises:
            ModelNotFoundError: It is not on this machine.
            CheckpointError: Its files are damaged.
        """
        local = self._store.find(entry.model)
        if local is None:
            raise ModelNotFoundError(f"`{entry.model}` is not on this machine")
        key = (local.path, local.path.stat().st_mtime_ns)
        if key not in self._known:
            self._known[key] = _read(local, self._store.home / "tokenizers")
        return self._known[key]


def _read(local: LocalModel, cache: Path) -> Facts:
    source = open_checkpoint(local.path)
    tokenizer = source.tokenizer(cache)
    can_call = can_fill = False
    if source.chat_template is not None:
        family = local.name.partition(":")[0]
        form = chat_format(tokenizer, source.chat_template, family).tool_form
        can_call = form is not None
    with contextlib.suppress(TokenizerError):
        can_fill = bool(fim_stop_ids(tokenizer))
    names = source.names()
    return Facts(
        local=local,
        config=source.config,
        generation=source.generation,
        num_parameters=count_parameters(source.config).total,
        quantization=_quantization(local, source),
        template=source.chat_template,
        licence=source.licence,
        can_call=can_call,
        can_fill=can_fill,
        vocab_size=len(tokenizer),
        tensors=tuple((name, source.format(name), tuple(source.shape(name))) for name in names),
    )


def _quantization(local: LocalModel, source: Source) -> str:
    """The type in a GGUF's name, where it has one there; else the format of most values."""
    if local.path.is_file() and (named := _IN_NAME.search(local.path.stem.upper())):
        return named[1]
    held: Counter[str] = Counter()
    for name in source.names():
        held[source.format(name)] += prod(source.shape(name))
    return held.most_common(1)[0][0]
