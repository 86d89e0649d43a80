"""The floors of the house: who may import whom, and who imports no torch."""

import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tongwen"
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def torch_free() -> list[str]:
    """Every module that the contract of `pyproject.toml` keeps free of torch, packages unfolded."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = contracts["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each.get("forbidden_modules") == ["torch"]]
    modules = ["tongwen", "tongwen.version", "tongwen.cli.main", *contract["source_modules"]]
    for name in list(modules[3:]):
        folder = PACKAGE / name.removeprefix("tongwen.").replace(".", "/")
        modules += [f"{name}.{module.name}" for module in pkgutil.iter_modules([str(folder)])]
    return sorted(modules)


# An editable installation answers for the package before the path is searched; a copy has to.
NOT_INSTALLED = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in type(finder).__name__
                    and "ScikitBuild" not in type(finder).__name__]
"""


def run(
    code: str, *, cwd: Path = ROOT, source: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **({"PYTHONPATH": str(source)} if source else {})}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_import_goes_down() -> None:
    linted = run(LINT)
    assert linted.returncode == 0, linted.stdout
    assert "0 broken" in linted.stdout


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("utils/__init__.py", '"""Odds and ends."""\n', "utils"),
        ("model/upward.py", "import tongwen.engine.blocks\n", "tongwen.model.upward"),
        ("tokenizer/heavy.py", "import torch\n", "tongwen.tokenizer.heavy"),
        ("checkpoint/lean.py", "import transformers\n", "tongwen.checkpoint.lean"),
    ],
)
def test_what_breaks_a_floor_is_noticed(
    tmp_path: Path, file: str, text: str, complaint: str
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "tongwen", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tongwen" / file).parent.mkdir(exist_ok=True)
    (tmp_path / "tongwen" / file).write_text(text, encoding="utf-8")
    linted = run(NOT_INSTALLED + LINT, cwd=tmp_path, source=tmp_path)
    assert linted.returncode == 1
    assert complaint in linted.stdout.replace("\n", "")


def test_modules_without_tensors_load_no_torch() -> None:
    modules = torch_free()
    assert "tongwen.tokenizer.bpe" in modules
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
    if found := sorted({{"torch", "transformers"}} & set(sys.modules)):
        sys.exit(f"importing {{name}} loads {{found}}")
"""
    imported = run(code)
    assert imported.returncode == 0, imported.stderr


def test_what_leads_to_an_answer_imports_nothing_that_only_posix_has() -> None:
    code = """
import sys
import psutil  # has a file for each system, and on this one imports what this one has
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
import tongwen, tongwen.cli.main, tongwen.cli.run, tongwen.engine.llm
assert tongwen.LLM
"""
    imported = run(code)
    assert imported.returncode == 0, imported.stderr
