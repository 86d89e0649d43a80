"""Qwen2, whole: the model, its tokenizer, its engine, its training and its measures."""

from importlib import import_module
from typing import Any

from tongwen.version import __version__

_PUBLIC = {
    "LLM": "tongwen.engine.llm",
    "Completion": "tongwen.engine.request",
    "SamplingParams": "tongwen.engine.params",
}
_WORKSHOPS = ("evals",)
"""Rooms whose `run` does what a verb of the command line does: `tongwen.evals.run(...)`."""

__all__ = ["LLM", "Completion", "SamplingParams", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute
    """Import a public name when it is first used, so that `import tongwen` stays light."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _WORKSHOPS:
        return import_module(f"tongwen.{name}")
    raise AttributeError(f"module `tongwen` has no attribute `{name}`")
