"""Ten solutions in each language that can be run here pass; each with one change fails."""

import asyncio
import json
from pathlib import Path

import pytest

from tongwen.errors import DependencyError
from tongwen.judge import host, multipl_e
from tongwen.judge.languages import LANGUAGES
from tongwen.judge.programs import build, with_end
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict

SOLUTIONS = Path(__file__).with_name("solutions")
WRITTEN = sorted(path.stem for path in SOLUTIONS.glob("*.txt"))

ROW = {
    "prompt": "def double(x):\n",
    "test": "\ndef check(f):\n    assert f(2) == 4\n\ncheck(double)",
    "stop_tokens": ["\ndef"],
}
SCRIPT = {
    "prompt": "double() {\n",
    "tests": "}\nset -e\n[[ $(double 2) = 4 ]]",
    "stop_tokens": ["\n}"],
}


def solutions(language: str) -> dict[str, tuple[str, str]]:
    """Of each task a right completion and a wrong one."""
    found = {}
    for part in (SOLUTIONS / f"{language}.txt").read_text(encoding="utf-8").split("==== ")[1:]:
        head, _, completion = part.partition("\n")
        name, _, change = head.partition(": ")
        old, new = change.split(" => ")
        assert old in completion, f"{language} {name}"
        found[name] = (completion, completion.replace(old, new, 1))
    return found


def judged(row: dict[str, str], completion: str, language: str, sandbox: Sandbox) -> Verdict:
    return asyncio.run(multipl_e.judge(row, completion, language, sandbox))


@pytest.mark.parametrize("language", WRITTEN)
def test_ten_solutions_pass_and_changed_ones_fail(
    language: str, shared: Path, sandbox: Sandbox
) -> None:
    if (missing := LANGUAGES[language].missing) is not None:
        pytest.skip(missing)
    lines = (shared / f"data/multipl_e/humaneval-{language}.jsonl").read_text(encoding="utf-8")
    rows = {row["name"]: row for row in map(json.loads, lines.splitlines())}

    async def judge_all(which: int) -> dict[str, Verdict]:
        asked = {name: pair[which] for name, pair in solutions(language).items()}
        verdicts = await asyncio.gather(
            *(multipl_e.judge(rows[name], text, language, sandbox) for name, text in asked.items())
        )
        return dict(zip(asked, verdicts, strict=True))

    right, wrong = asyncio.run(judge_all(0)), asyncio.run(judge_all(1))
    assert len(right) == 10
    assert {name: each.reason for name, each in right.items() if not each.passed} == {}
    assert [name for name, each in wrong.items() if each.passed] == []


def test_python_is_judged_too(sandbox: Sandbox) -> None:
    assert judged(ROW, "    return 2 * x\n\ndef another(): nonsense", "py", sandbox).passed
    assert judged(ROW, "    return 3 * x", "py", sandbox).reason == "failed: AssertionError"


def test_a_program_that_exits_before_its_tests_does_not_pass(sandbox: Sandbox) -> None:
    assert judged(SCRIPT, "    echo $((2 * $1))", "sh", sandbox).passed
    early = judged(SCRIPT, "    echo\n}\nexit 0\ndouble() {\n    echo", "sh", sandbox)
    assert not early.passed
    script = SCRIPT | {"stop_tokens": []}
    early = judged(script, "    echo\n}\nexit 0\ndouble() {\n    echo", "sh", sandbox)
    assert (early.passed, early.reason) == (False, "ended before its tests did")


def test_a_completion_is_cut_at_the_first_text_that_ends_it() -> None:
    assert multipl_e.cut("a\n}\nb\n//c", ["\n//", "\n}"]) == "a"
    assert multipl_e.cut("a", ["\n}"]) == "a"


def test_the_last_statement_stands_inside_the_braces_of_the_tests() -> None:
    source = with_end(LANGUAGES["java"], "class P {\n  void main() {\n    a();\n  }\n\n}\n", "said")
    words = "".join(source.split())
    assert words == 'classP{voidmain(){a();System.out.println("said");}}'


def test_a_language_without_its_compiler_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    language = LANGUAGES["php"]
    assert not language.is_available
    assert language.missing == "no `php` here: apt-get install php-cli"
    with pytest.raises(DependencyError, match="no `php` here"):
        build(language, "<?php")


def test_a_compiler_in_somebodys_home_is_shown_without_that_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sandbox: Sandbox
) -> None:
    tool = tmp_path / "node-22" / "bin" / "php"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho ours\n", encoding="ascii")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert host.tool("php") == host.Tool("/opt/php/bin/php", {"/opt/php": str(tool.parents[1])})
    assert sandbox.run(build(LANGUAGES["php"], "")).text == "ours\n"
    monkeypatch.setenv("HOME", str(tmp_path / "node-22" / "me"))
    assert host.tool("php") is None
