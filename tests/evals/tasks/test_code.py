"""HumanEval, MBPP, EvalPlus, MultiPL-E: prompts, and right and wrong programs in the sandbox."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tongwen.errors import RequestError
from tongwen.evals.question import Answer, Generate
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import Setup, Task
from tongwen.evals.tasks.evalplus import HumanEvalPlus, MbppPlus
from tongwen.evals.tasks.humaneval import HumanEval
from tongwen.evals.tasks.mbpp import Mbpp
from tongwen.evals.tasks.multipl_e import MultiPlE
from tongwen.judge.benchmarks import Benchmarks
from tongwen.judge.languages import LANGUAGES
from tongwen.judge.rewritten import rewritten
from tongwen.judge.sandbox import Sandbox

KINDS = [HumanEval, HumanEvalPlus, Mbpp, MbppPlus, MultiPlE]


def task_of(
    kind: type[Task], root: Path, *, preset: str | None = None, is_chat: bool = True, **more: object
) -> Task:
    name = preset or next(iter(kind.about.presets))
    return kind(Setup(data=Benchmarks(root), preset=name, is_chat=is_chat, **more))  # type: ignore[arg-type]


def graded(task: Task, sample: Sample, text: str) -> Grade:
    return asyncio.run(task.grade(sample, Answer(turns=(text,))))


@pytest.mark.parametrize("kind", KINDS)
def test_every_preset_asks_every_sample(kind: type[Task], shared: Path) -> None:
    for preset in kind.about.presets:
        for is_chat in (False, True):
            task = task_of(kind, shared / "data", preset=preset, is_chat=is_chat)
            samples = task.samples()
            assert len({sample.id for sample in samples}) == len(samples)
            for sample in samples:
                question = task.question(sample)
                assert isinstance(question, Generate)
                assert question.params.repetition_penalty == 1.0
                assert question.params.temperature == 0
                in_turns = is_chat and bool(kind.about.presets[preset].chat)
                assert isinstance(question.prompt, str) is not in_turns


def test_there_are_as_many_as_the_data_says(shared: Path) -> None:
    counts = {kind: len(task_of(kind, shared / "data").samples()) for kind in KINDS[:-1]}
    assert counts == {HumanEval: 164, HumanEvalPlus: 164, Mbpp: 290, MbppPlus: 165}


def test_the_prompt_of_the_coder_preset_is_the_measured_one(shared: Path) -> None:
    task = task_of(HumanEval, shared / "data", preset="qwen2.5-coder")
    question = task.question(task.samples()[0])
    assert isinstance(question, Generate)
    assert not isinstance(question.prompt, str)
    system, user, begun = question.prompt
    assert system["content"].startswith("You are an intelligent programming assistant")
    prompt = task.samples()[0].row["prompt"].strip()
    asked = "Can you complete the following Python function?"
    assert user["content"] == f"{asked}\n```python\n{prompt}\n```"
    assert begun == {"role": "assistant", "content": "```python\n"}
    assert question.params.max_tokens == 768
    assert question.params.stop_strings == (
        "\n```",
        "\nif __name__",
        "\ndef main(",
        "\nprint(",
        "\n#",
    )


@pytest.mark.parametrize("kind", [HumanEval, HumanEvalPlus, Mbpp, MbppPlus])
def test_its_own_solution_scores_and_none_does_not(
    kind: type[Task], shared: Path, sandbox: Sandbox
) -> None:
    task = task_of(kind, shared / "data", sandbox=sandbox)
    for sample in task.samples()[5:8]:
        row = sample.row
        right = row.get("canonical_solution") or row.get("code")
        name = row.get("entry_point") or right.partition("def ")[2].partition("(")[0]
        assert graded(task, sample, right).score == 1, sample.id
        wrong = graded(task, sample, f"def {name}(*given):\n    return 'nothing of the kind'\n")
        assert wrong.score == 0, sample.id
        assert "failed" in json.dumps(dict(wrong.notes))


def test_a_program_that_leaves_before_its_tests_does_not_pass(
    shared: Path, sandbox: Sandbox
) -> None:
    task = task_of(HumanEval, shared / "data", sandbox=sandbox)
    sample = task.samples()[0]
    head = f"def {sample.row['entry_point']}(*given):\n"
    for leaves in ("import os; os._exit(0)", "raise SystemExit(0)", "import sys; sys.exit()"):
        assert graded(task, sample, f"{head}    {leaves}\n").score == 0


def test_without_a_sandbox_nothing_is_run(shared: Path) -> None:
    task = task_of(HumanEval, shared / "data")
    with pytest.raises(RequestError, match="was given no sandbox"):
        graded(task, task.samples()[0], "    return 1\n")


def test_a_language_without_its_programs_is_left_out_by_name(shared: Path) -> None:
    task = task_of(MultiPlE, shared / "data")
    assert isinstance(task, MultiPlE)
    there = {sample.group for sample in task.samples()}
    absent = {line.partition(":")[0] for line in task.not_run()}
    assert there | absent == {"py", "cpp", "java", "php", "ts", "cs", "sh", "js"}
    assert there.isdisjoint(absent)
    assert "py" in there


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_answer_is_gone_on_with_a_whole_one_is_asked(
    kind: type[Task], shared: Path
) -> None:
    task = task_of(kind, shared / "data", continues_answers=False)
    question = task.question(task.samples()[0])
    assert isinstance(question, Generate)
    assert not isinstance(question.prompt, str)
    assert question.prompt[-1]["role"] == "user"
    assert question.params.stop_strings == ()


def test_a_program_in_a_fence_among_words_is_judged(shared: Path, sandbox: Sandbox) -> None:
    task = task_of(HumanEval, shared / "data", sandbox=sandbox, continues_answers=False)
    sample = task.samples()[0]
    whole = sample.row["prompt"] + sample.row["canonical_solution"]
    for text in (f"Here it is:\n```python\n{whole}\n```\nIt loops.", f"```\n{whole}"):
        assert graded(task, sample, text).score == 1


ENDS = {"cpp": "}", "java": "    }", "cs": "    }", "sh": "}"}
"""By language, what ends the function where completions do not."""

SOLUTIONS = Path(__file__).parents[2] / "judge" / "solutions"


def solved(task: Task, language: str) -> tuple[Sample, str, str]:
    """A sample, the rest of its function, and that rest with a fault."""
    samples = [sample for sample in task.samples() if sample.group == language]
    if language == "py":
        row = samples[53].row
        return samples[53], row["canonical_solution"], row["canonical_solution"].replace("+", "-")
    text = (SOLUTIONS / f"{language}.txt").read_text(encoding="utf-8").split("==== ")[1]
    head, _, right = text.partition("\n")
    name, _, change = head.partition(": ")
    (sample,) = (one for one in samples if one.row["name"] == name)
    return sample, right, right.replace(*change.split(" => "))


def anew(row: Mapping[str, str], rest: str, language: str) -> dict[str, str]:
    """Forms in which people write the whole function."""
    prompt, end = row["prompt"].rstrip(), ENDS.get(language, "")
    closed = f"{rest.rstrip()}\n{end}\n"
    in_class, has_main = language in ("java", "cs"), language in ("cpp", "java", "cs")
    head = prompt.rpartition("\n")[2] if language != "py" else prompt
    own = {"cpp": "int main() { return 3; }", "java": "static void main(String[] a) { int c; }"}
    main = own.get(language, "static int Main(string[] a) { return 3; }") if has_main else ""
    pair, bare = "class Couple { int a; }\n", f"{head}\n{closed}"
    nested = f"static {pair}" if language == "java" else pair
    imports = {"java": "import java.util.*;\n", "cs": "using System.Collections.Generic;\n"}
    own_class = f"{imports[language]}\npublic class Own {{\n{bare}}}\n" if in_class else bare
    return {
        "with imports": imports.get(language, "") + bare,
        "with a class before": f"{imports[language]}{pair}{own_class}" if in_class else bare,
        "with a class after": own_class + pair * in_class,
        "with a class within": nested * in_class + bare,
        "after the prompt": f"{prompt}\n{closed}{'}' * in_class}",
        "bare": bare,
        "in another style": f"{head.replace('(', ' (', 1)}\n{closed}",
        "with a main": f"{prompt}\n{closed}{main}\n{'}' * in_class}",
        "gone on with": f"{rest}",
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_whole_function_in_a_fence_is_judged_where_no_answer_is_gone_on_with(
    language: str, shared: Path, sandbox: Sandbox
) -> None:
    if (missing := LANGUAGES[language].missing) is not None:
        pytest.skip(missing)
    task = task_of(MultiPlE, shared / "data", sandbox=sandbox, continues_answers=False)
    sample, right, wrong = solved(task, language)

    def reasons(rest: str) -> dict[str, object]:
        texts = anew(sample.row, rest, language)
        answers = {form: f"So:\n```{language}\n{text}\n```\nDone." for form, text in texts.items()}
        return {form: graded(task, sample, text).notes["verdict"] for form, text in answers.items()}

    assert set(reasons(right).values()) == {"passed"}, reasons(right)
    assert "passed" not in reasons(wrong).values()


RECURSIVE = """
return f(n - 1) + f(n);
return n * f(n - 1);
return n > 1 and f(n - 1);
return n ? f(n - 1) : 1;
else f(n - 1);
    && f(n - 1)
    > f(n - 1)
    : f(n - 1);
"""


def test_a_recursive_call_defines_no_function() -> None:
    row = {"prompt": "class P {\n    static long f(long n) {\n", "tests": "    }\n}"}
    for line in RECURSIVE.strip("\n").split("\n"):
        for language in ("java", "cs", "cpp"):
            assert rewritten(row, f"    if (n < 2) return 1;\n{line}\n", language) is None, line
    assert rewritten(row, "static long f(long n) {\n    return n;\n}", "java") is not None
    assert rewritten({"prompt": "no head", "tests": ""}, "text", "cpp") is None


@pytest.mark.parametrize("language", ["js", "ts", "php"])
def test_a_comment_that_names_the_function_does_not_define_it(language: str) -> None:
    row = {"prompt": "//Create a function f that\nfunction f(n){\n", "tests": "f(1)"}
    assert rewritten(row, "//Create a function f that\n  return n;\n}", language) is None
    assert rewritten(row, "  function f(n) {\n  return n;\n}", language) is not None


def test_a_function_written_anew_finds_the_prompts_helpers_where_the_preset_keeps_them(
    shared: Path, sandbox: Sandbox
) -> None:
    task = task_of(HumanEval, shared / "data", sandbox=sandbox, preset="harness", is_chat=False)
    sample = task.samples()[38]
    row = sample.row
    head = (
        row["prompt"].rpartition("def decode_cyclic")[1]
        + row["prompt"].rpartition("def decode_cyclic")[2]
    )
    assert graded(task, sample, head + row["canonical_solution"]).score == 1
