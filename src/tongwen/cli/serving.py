"""Models brought into memory for a server."""

from dataclasses import dataclass
from pathlib import Path

from tongwen.engine.async_engine import AsyncEngine
from tongwen.engine.llm import LLM
from tongwen.server.config import ModelEntry
from tongwen.server.served import Served


@dataclass(frozen=True, slots=True)
class _Neutral:
    """Sampling as it is without anybody's recommendation."""

    do_sample: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0


def load_served(entry: ModelEntry, home: Path | None = None) -> Served:
    """Bring a model into memory.

    Raises:
        ModelNotFoundError: No such model is known or reachable.
        CheckpointError: Its files are damaged.
        CapacityError: It does not fit into memory.
    """
    draft = None if entry.draft is None else LLM(entry.draft, context=entry.context, home=home)
    llm = LLM(entry.model, weights=entry.weights, context=entry.context, draft=draft, home=home)
    if entry.generation == "none":
        llm.engine.defaults = _Neutral()
    return Served(entry, llm, AsyncEngine(llm.engine))
