"""`python -m tongwen` in a clone, where it stands in for make."""

import re

from tests.cli.program import Run

from tongwen.__main__ import CLONE, make, targets


def recipe(target: str) -> str:
    makefile = (CLONE / "Makefile").read_text(encoding="utf-8")
    match = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert match is not None
    return match[1]


def test_each_target_does_what_the_makefile_does() -> None:
    checks = [" ".join(call) for call in targets()["check"]]
    lines = recipe("check").strip().splitlines()
    assert len(lines) == len(checks)
    for line, call in zip(lines, checks, strict=True):
        assert line.strip() == f"$(RUN) {call}" or ("lint-imports" in line and "lint" in call)
    for target in ("test", "bench"):
        (call,) = targets()[target]
        assert recipe(target).strip().removeprefix("@") == f"$(RUN) {' '.join(call)} $(ARGS)"


def test_a_target_ends_with_its_first_failure() -> None:
    fine, failing = ["-c", "pass"], ["-c", "import sys; sys.exit(3)"]
    assert make([fine, fine], []) == 0
    assert make([fine, failing, ["-c", "raise SystemExit(4)"]], []) == 3


def test_tests_are_started_by_python_alone(tongwen: Run) -> None:
    done = tongwen("test", "tests/cli/test_module.py", "--collect-only", "-q")
    assert done.returncode == 0, done.stderr
    assert "test_tests_are_started_by_python_alone" in done.stdout


def test_every_verb_of_the_program_is_there_too(tongwen: Run) -> None:
    assert tongwen("--help").stdout.startswith("Usage: tongwen ")
