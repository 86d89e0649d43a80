"""What comes with a request besides its prompt and its sampling parameters.  No tensors."""

from dataclasses import dataclass

from tongwen.engine.completion import Pooling


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What comes with a request besides its prompt and its sampling parameters."""

    caller: str = ""
    """Who asks: callers are served in turn."""

    priority: int = 0
    """Lower goes first, and is preempted last."""

    salt: str | None = None
    """Who shares cached prefixes, whose timing tells what others asked; `None`: only the caller."""

    adapter: int = -1
    """The LoRA adapter; -1: none."""

    pooling: Pooling | None = None
    """Make one vector of the prompt's hidden states."""
