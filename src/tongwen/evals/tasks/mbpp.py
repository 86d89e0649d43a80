"""MBPP: small Python functions (Austin et al., 2021, https://arxiv.org/abs/2108.07732)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.code import CODER_STOPS, begun, code_of, coder_turns, fenced_turns, graded
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import first
from tongwen.evals.task import About, Preset, Task
from tongwen.judge import mbpp

_SHOTS = (2, 3, 4)
"""Of the ten rows that are there to be shown, those that the paper shows (section 4.3)."""

_FIRST_SCORED, _LAST_SCORED = 11, 510


class Mbpp(Task):
    """Whether the function passes its three asserts."""

    about = About(
        title="MBPP",
        paper="https://arxiv.org/abs/2108.07732",
        licence="CC BY 4.0",
        files=(("mbpp/mbpp", "mbpp/mbpp_ids_1-300"),),
        obtain="https://github.com/google-research/google-research/tree/master/mbpp",
        metric="pass@1: the share of functions that pass their asserts",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 0-shot; base as in the paper's section 4.3",
                shots=3,
                base="three solved ones between [BEGIN] and [DONE]",
                chat="task and asserts, the answer begun with a fence",
            ),
            "qwen2.5-coder": Preset(
                source="Qwen2.5-Coder, qwencoder-eval/instruct/eval_plus",
                shots=3,
                base="three solved ones between [BEGIN] and [DONE]",
                chat="a system line, task and first assert in a fence, the answer begun with one",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `mbpp`",
                shots=3,
                base="three solved ones between [BEGIN] and [DONE]",
            ),
        },
        needs=("sandbox",),
    )

    @property
    def fixed_shots(self) -> int | None:
        """None before what a chat model is asked."""
        return 0 if self.asks_in_turns else None

    def samples(self) -> list[Sample]:
        """The test split, rows 11 to 510, in the order of the file."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        pool = [row for row in rows if row["task_id"] in _SHOTS]
        shots = first(pool, self.num_shots, self.about.title)
        return [
            Sample(id=str(row["task_id"]), row=row, shots=shots)
            for row in rows
            if _FIRST_SCORED <= row["task_id"] <= _LAST_SCORED
        ]

    def question(self, sample: Sample) -> Question:
        """What the function is for, and the asserts that it will meet."""
        if not self.asks_in_turns:
            told = [_task(shot) + f"{shot['code']}\n[DONE]\n\n" for shot in sample.shots]
            params = self.setup.sampling(512, ("[DONE]",))
            return Generate(prompt="".join(told) + _task(sample.row), params=params)
        params = self.setup.sampling(768, CODER_STOPS)
        if self.setup.preset == "qwen2.5-coder":
            code = f'"""\n{sample.row["text"]}\n{sample.row["test_list"][0]}\n"""'
            asked = "Can you complete the following Python function?"
            return begun(self.setup, coder_turns(asked, code), params)
        tests = "\n".join(sample.row["test_list"])
        asked = f"{sample.row['text']}\nThe function has to pass:\n```python\n{tests}\n```"
        return begun(self.setup, fenced_turns(asked), params)

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Run its asserts."""
        text = code_of(answer.text) if self.asks_in_turns else answer.text
        return graded(await mbpp.judge(sample.row, text, self.sandbox))


def _task(row: Mapping[str, Any]) -> str:
    tests = "\n".join(row["test_list"])
    return (
        f"You are an expert Python programmer, and here is your task: {row['text']} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )
