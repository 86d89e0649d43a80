"""`python -m tongwen`: the same as `tongwen`; in a clone it stands in for `make`, too.

`make run` is `python -m tongwen run --source index`; `test`, `check` and `bench` are called alike.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tongwen.cli.main import VERBS, main

CLONE = Path(__file__).resolve().parents[2]
"""The clone that this file lies in, if it lies in one."""

LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command as lint; lint()"


def targets() -> dict[str, list[list[str]]]:
    """What Python is called with for each target of the Makefile; empty outside a clone."""
    if not (CLONE / "pyproject.toml").is_file() or not (CLONE / "Makefile").is_file():
        return {}
    return {
        "test": [["-m", "pytest"]],
        "check": [
            ["-m", "ruff", "check", "."],
            ["-m", "ruff", "format", "--check", "."],
            ["-m", "mypy"],
            ["-c", LINT_IMPORTS],
            ["tools/measure_functions.py"],
        ],
        "bench": [["benchmarks/run_all.py"]],
    }


def make(calls: Sequence[Sequence[str]], arguments: Sequence[str]) -> int:
    """Run a target's calls one after the other, up to the first that fails; its exit status."""
    for call in calls:
        done = subprocess.run([sys.executable, *call, *arguments], cwd=CLONE, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in targets() and verb not in VERBS:
        sys.exit(make(targets()[verb], sys.argv[2:]))
    main()
