"""HumanEval and MBPP: what is right passes, what is changed fails, what pretends fails."""

import ast
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tongwen.judge import humaneval, mbpp
from tongwen.judge.limits import Limits
from tongwen.judge.python import passes
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.sanitize import parsed
from tongwen.judge.verdict import Verdict

Row = Mapping[str, Any]
Judge = Callable[[Row, str, Sandbox], Awaitable[Verdict]]

ROW = {
    "prompt": 'import math\n\n\ndef root(x: float) -> float:\n    """The root of `x`."""\n',
    "entry_point": "root",
    "test": "\n\ndef check(candidate):\n    assert candidate(4.0) == 2.0\n",
}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judge_all(judge: Judge, pairs: list[tuple[Row, str]], sandbox: Sandbox) -> list[Verdict]:
    async def together() -> list[Verdict]:
        return await asyncio.gather(*(judge(row, text, sandbox) for row, text in pairs))

    return asyncio.run(together())


def one(completion: str, sandbox: Sandbox, row: Row = ROW) -> Verdict:
    return judge_all(humaneval.judge, [(row, completion)], sandbox)[0]


class _Broken(ast.NodeTransformer):
    """Makes every function of one name return nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if node.name == self.name:
            node.body = [ast.Return(ast.Constant(None))]
        return node


def broken(source: str, name: str) -> str:
    """The source with that function's body replaced by `return None`."""
    return ast.unparse(ast.fix_missing_locations(_Broken(name).visit(parsed(source))))


@pytest.mark.parametrize(("size", "passed"), [("0.5b", 99), ("1.5b", 113)])
def test_the_reference_completions_score_what_they_are_known_to(
    size: str, passed: int, shared: Path, sandbox: Sandbox
) -> None:
    data = shared / "data/humaneval"
    texts = {row["task_id"]: row for row in rows(data / f"reference_completions_{size}.jsonl")}
    pairs = [(row, texts[row["task_id"]]["completion"]) for row in rows(data / "HumanEval.jsonl")]
    assert sum(each.passed for each in judge_all(humaneval.judge, pairs, sandbox)) == passed


def test_all_canonical_solutions_pass_and_none_that_returns_nothing(
    shared: Path, sandbox: Sandbox
) -> None:
    tasks = rows(shared / "data/humaneval/HumanEval.jsonl")
    right = [(row, row["canonical_solution"]) for row in tasks]
    assert [each.reason for each in judge_all(humaneval.judge, right, sandbox)] == ["passed"] * 164
    wrong = [
        (row, broken(humaneval.completed(row, row["canonical_solution"]), row["entry_point"]))
        for row in tasks
    ]
    verdicts = judge_all(humaneval.judge, wrong, sandbox)
    assert [each.reason for each in verdicts if each.passed] == []


def test_all_solutions_of_mbpp_pass_and_none_that_returns_nothing(
    shared: Path, sandbox: Sandbox
) -> None:
    tasks = rows(shared / "data/mbpp/mbpp_ids_1-300.jsonl")
    right = judge_all(mbpp.judge, [(row, row["code"]) for row in tasks], sandbox)
    assert [each.reason for each in right] == ["passed"] * 300
    wrong = judge_all(
        mbpp.judge, [(row, broken(row["code"], called(row))) for row in tasks], sandbox
    )
    survivors = {row["task_id"] for row, each in zip(tasks, wrong, strict=True) if each.passed}
    assert survivors == set()


def called(row: Row) -> str:
    """The function that a row's tests call."""
    made = {
        node.name for node in ast.walk(parsed(row["code"])) if isinstance(node, ast.FunctionDef)
    }
    used = [node.id for node in ast.walk(parsed(row["test_list"][0])) if isinstance(node, ast.Name)]
    return next(name for name in used if name in made)


def test_a_completion_stands_behind_the_prompt_or_its_imports(sandbox: Sandbox) -> None:
    assert one("    return math.sqrt(x)", sandbox).passed
    assert one("def root(x):\n    return math.sqrt(x)", sandbox).passed
    assert one("    return x", sandbox).reason == "failed: AssertionError"
    assert one("    return math.sqrt(", sandbox).reason.startswith("failed: SyntaxError")


@pytest.mark.parametrize(
    "completion",
    [
        "    return 0\n\nraise SystemExit(0)",
        "    import os; os._exit(0)",
        "    import sys; sys.exit(0)",
        "    exit()",
        "    print('passed'); print('ok', flush=True); import os; os._exit(0)",
        "    import sys; sys.stdout.write('passed\\n' * 100); sys.stdout.flush(); quit()",
        "    import os; os.execv('/bin/true', ['true'])",
        "    import os\n    if os.fork(): os._exit(0)\n    return 0",
        "    import sys; print(sys.argv, open('/proc/self/cmdline').read()); print(dict(__import__"
        "('os').environ)); sys.exit(0)",
        "    import sys; print(sys.stdin.read(), flush=True); raise SystemExit",
        "    import os; os.write(1, os.read(0, 1000)); os._exit(0)",
        "    import os; os.lseek(0, 0, 0); os.write(1, os.read(0, 9999)); os._exit(0)",
        "    import sys; sys.stdin.seek(0); print(sys.stdin.read(), flush=True); exit()",
        "    import sys; sys.__stdin__.seek(0); print(sys.__stdin__.read(), flush=True); exit()",
        "    print(open('/proc/self/fd/0').read(), flush=True); exit()",
        "    import __main__; print(vars(__main__), flush=True); exit()",
        "    print(open('inside.py').read(), flush=True); exit(0)",
    ],
)
def test_to_end_well_is_not_to_pass(completion: str, sandbox: Sandbox) -> None:
    verdict = one(completion, sandbox)
    assert (verdict.passed, verdict.reason) == (False, "ended before its tests did")


def test_output_threads_and_what_runs_at_exit_do_not_matter(sandbox: Sandbox) -> None:
    noisy = (
        "    import atexit, threading, time\n"
        "    print('noise')\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    atexit.register(time.sleep, 60)\n"
        "    return math.sqrt(x)"
    )
    verdict = one(noisy, sandbox)
    assert verdict.passed
    assert verdict.outcome is not None
    assert verdict.outcome.wall_s < 3


def test_what_runs_for_ever_is_timed_out(sandbox: Sandbox) -> None:
    source = humaneval.program(ROW, "    while True: pass")
    verdict = asyncio.run(passes(source, sandbox, Limits(wall_s=0.5)))
    assert (verdict.passed, verdict.reason) == (False, "timed out")


def test_what_prints_for_ever_is_ended(sandbox: Sandbox) -> None:
    verdict = one("    while True: print('x' * 1000)", sandbox)
    assert (verdict.passed, verdict.reason) == (False, "ended for its use of output")


def test_a_test_of_mbpp_gets_what_it_needs_beforehand(sandbox: Sandbox) -> None:
    row = {
        "test_setup_code": "WANTED = 3",
        "test_list": ["assert three() == WANTED", "assert three() > 2"],
    }
    right, wrong = judge_all(
        mbpp.judge, [(row, "def three(): return 3"), (row, "def three(): return 4")], sandbox
    )
    assert (right.passed, wrong.reason) == (True, "failed: AssertionError")
