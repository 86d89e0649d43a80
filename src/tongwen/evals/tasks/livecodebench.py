"""LiveCodeBench: contest problems, newer than the model (Jain et al., 2024, arXiv 2403.07974)."""

import re

from tongwen.evals.code import FENCE, graded
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import Row, turns
from tongwen.evals.task import About, Preset, Task
from tongwen.judge.contest import cases_of, judge

_SYSTEM = "You are a Python programmer who solves contest problems and passes all their tests."


class LiveCodeBench(Task):
    """Whether a program passes the hidden tests of its problem.

    Rows without hidden tests are judged on the examples of their statement, which the model has
    read: an upper bound, and said so in the metric `hidden tests`, the share of problems that were
    judged on them.
    """

    about = About(
        title="LiveCodeBench",
        paper="https://arxiv.org/abs/2403.07974",
        licence="statements belong to LeetCode, AtCoder and Codeforces: for research",
        files=(("livecodebench/test", "livecodebench/questions_2023-09_2024-04_sample150"),),
        obtain="`livecodebench/code_generation_lite` on the Hugging Face hub: test*.jsonl, with "
        "`public_test_cases` and `private_test_cases`",
        metric="pass@1: the share of problems whose tests all pass",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.2: LiveCodeBench v1; the form is this package's",
                base="the problem, and a fence begun",
                chat="the problem as the user's message",
            ),
        },
        needs=("sandbox",),
        hub={"livecodebench/test": ("livecodebench/code_generation_lite", "test.jsonl")},
    )

    def samples(self) -> list[Sample]:
        """Problems in the order of the file, grouped by difficulty."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        return [
            Sample(id=f"{row['platform']}/{row['question_id']}", row=row, group=row["difficulty"])
            for row in rows
        ]

    def question(self, sample: Sample) -> Question:
        """The statement, and the form that the program is to have."""
        wish = _wish(sample.row)
        if self.asks_in_turns:
            asked = turns([], f"{wish}\nAnswer with one {FENCE}python block.", _SYSTEM)
            return Generate(prompt=asked, params=self.setup.sampling(2048))
        prompt = f"{wish}\nThe program:\n{FENCE}python\n"
        return Generate(prompt=prompt, params=self.setup.sampling(2048, ("\n" + FENCE,)))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Run the tests."""
        tests = cases_of(sample.row)
        source = program_of(answer.text) if self.asks_in_turns else answer.text
        verdict = await judge(tests, source, self.sandbox)
        return graded(verdict, **{"hidden tests": float(tests.are_hidden)})


def program_of(text: str) -> str:
    """What stands in the last fence; in the only one that was begun; else all of it."""
    closed = re.findall(r"```(?:python|py|Python3?)?[^\n]*\n(.*?)```", text, re.DOTALL)
    if closed:
        return str(closed[-1])
    _, _, begun = text.partition(FENCE)
    return begun.partition("\n")[2] if begun else text


def _wish(row: Row) -> str:
    problem = f"Solve this problem in Python.\n\n{row['question_content'].strip()}\n\n"
    if row["starter_code"]:
        return f"{problem}Complete this code:\n{FENCE}python\n{row['starter_code']}\n{FENCE}\n"
    return f"{problem}The program reads its input from stdin and prints nothing but the answer.\n"
