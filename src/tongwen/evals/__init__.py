"""Measuring a model: each benchmark a short file, each figure with a receipt.

from tongwen.evals import EvalConfig, run

(result,) = run("gsm8k", "qwen2:0.5b", EvalConfig(data=Path("data"), out=Path("evals")))
print(result.figure.score, result.path)
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "EvalConfig": "tongwen.evals.trial",
    "Result": "tongwen.evals.trial",
    "Target": "tongwen.evals.target",
    "run": "tongwen.evals.measure",
}

__all__ = ["EvalConfig", "Result", "Target", "run"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute
    """Import what is public when it is first used: a list of benchmarks needs no torch."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module `tongwen.evals` has no attribute `{name}`")
