"""What the package shows: public names, docstrings, verbs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tongwen
from tongwen import errors
from tongwen.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

WORKSHOPS = ("evals",)
"""Rooms whose `run` is public: `tongwen.evals.run(...)`."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: Documented, place: str) -> Iterator[tuple[str, Documented]]:
    """A module, class or function and the public ones in it; what a function holds is its own."""
    yield place, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in node.body:
        is_thing = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_thing and not child.name.startswith("_"):
            yield from public(child, f"{place}:{child.name}")


def tongwen_cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tongwen", *words], capture_output=True, text=True, check=False
    )


def test_the_public_names_are_there() -> None:
    assert tongwen.LLM.__module__ == "tongwen.engine.llm"
    assert tongwen.SamplingParams(max_tokens=3).max_tokens == 3
    assert tongwen.Completion.__name__ == "Completion"
    assert set(tongwen.__all__) == {"LLM", "Completion", "SamplingParams", "__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module `tongwen` has no attribute `Model`"):
        _ = tongwen.Model


def test_every_public_thing_says_what_it_is() -> None:
    silent = [
        place
        for path in SOURCES
        for place, node in public(
            ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT / "src"))
        )
        if not ast.get_docstring(node)
    ]
    assert silent == []


def test_a_room_holds_its_rooms_description_and_nothing_else() -> None:
    rooms = [path for path in SOURCES if path.name == "__init__.py"]
    rooms.remove(ROOT / "src" / "tongwen" / "__init__.py")
    for name in WORKSHOPS:
        rooms.remove(ROOT / "src" / "tongwen" / name / "__init__.py")
    assert rooms
    for room in rooms:
        (docstring,) = ast.parse(room.read_text(encoding="utf-8")).body
        assert isinstance(docstring, ast.Expr), room


@pytest.mark.parametrize("name", WORKSHOPS)
def test_a_workshop_offers_what_its_verb_calls_and_imports_it_when_it_is_asked_for(
    name: str,
) -> None:
    assert callable(getattr(tongwen, name).run)
    code = f"import sys, tongwen; tongwen.{name}; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_every_error_is_of_the_one_tree_and_a_standard_one_too() -> None:
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and value is not errors.TongwenError
    ]
    assert len(kinds) >= 8
    for kind in kinds:
        assert issubclass(kind, errors.TongwenError)
        assert kind.__bases__[-1].__module__ == "builtins"
        assert f"+ {kind.__name__} " in (errors.__doc__ or "")
        assert kind("what", hint="how").hint == "how"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself_without_torch(verb: str) -> None:
    code = f"""
import sys
from tongwen.cli.main import main
sys.argv = ["tongwen", "{verb}", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert f"tongwen {verb}" in shown.stdout


def test_the_help_lists_exactly_the_verbs_that_there_are() -> None:
    shown = tongwen_cli("--help")
    assert shown.returncode == 0
    listed = shown.stdout.split("Verbs:\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == list(VERBS)


def test_each_verb_has_its_own_file() -> None:
    assert {module for module, _ in VERBS.values()} == {f"tongwen.cli.{verb}" for verb in VERBS}


def test_the_version_is_that_of_the_package() -> None:
    assert tongwen.__version__ in tongwen_cli("--version").stdout
