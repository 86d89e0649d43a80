"""What is known of a model without loading it: shape, format, template, vocabulary."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.store import Store
from tongwen.errors import ModelNotFoundError
from tongwen.model.config import Qwen2Config
from tongwen.server.config import ModelEntry


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


Look = Callable[[LocalModel], Facts]


class ModelFacts:
    """The facts of a server's models, each read once for as long as its files stay.

    Args:
        store: Where they lie.
        look: Reads the facts from the head of a model's files.
    """

    def __init__(self, store: Store, look: Look) -> None:
        self._store, self._look = store, look
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
            self._known[key] = self._look(local)
        return self._known[key]
