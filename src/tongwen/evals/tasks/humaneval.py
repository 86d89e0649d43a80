"""HumanEval: functions from their docstrings (Chen et al., 2021, arXiv 2107.03374)."""

from tongwen.evals.code import (
    BASE_STOPS,
    CODER_STOPS,
    begun,
    code_of,
    coder_turns,
    fenced_turns,
    graded,
)
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.judge import humaneval

_HARNESS_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


class HumanEval(Task):
    """Whether the function passes its tests."""

    about = About(
        title="HumanEval",
        paper="https://arxiv.org/abs/2107.03374",
        licence="MIT",
        files=(("humaneval/HumanEval",),),
        obtain="https://github.com/openai/human-eval, or `openai/openai_humaneval` on the hub",
        metric="pass@1: the share of functions that pass their tests",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 0-shot; EvalPlus for the form",
                base="the prompt is continued",
                chat="the prompt in a fence, the answer begun with one",
            ),
            "qwen2.5-coder": Preset(
                source="Qwen2.5-Coder, qwencoder-eval/instruct/eval_plus",
                base="the prompt is continued",
                chat="a system line, the prompt in a fence, the answer begun with one",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `humaneval`",
                base="the prompt is continued",
            ),
        },
        needs=("sandbox",),
        hub={
            "humaneval/HumanEval": (
                "openai/openai_humaneval",
                "openai_humaneval/test-00000-of-00001.parquet",
            )
        },
    )

    @property
    def form(self) -> humaneval.Form:
        """Where a completion stands that defines the whole function anew.

        The known scores of Qwen2.5-Coder are of programs that keep the prompt's imports alone.
        """
        return "continued" if self.setup.preset == "harness" else "imports"

    def samples(self) -> list[Sample]:
        """Functions in the order of the file."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        return [Sample(id=row["task_id"], row=row) for row in rows]

    def question(self, sample: Sample) -> Question:
        """The function's head and docstring."""
        prompt: str = sample.row["prompt"]
        if self.setup.preset == "harness":
            return Generate(prompt=prompt, params=self.setup.sampling(1024, _HARNESS_STOPS))
        if not self.asks_in_turns:
            params = self.setup.sampling(768, BASE_STOPS)
            return Generate(prompt=prompt.strip() + "\n", params=params)
        params = self.setup.sampling(768, CODER_STOPS)
        if self.setup.preset == "qwen2.5-coder":
            asked = "Can you complete the following Python function?"
            return begun(self.setup, coder_turns(asked, prompt), params)
        wish = "Write this Python function in full, with the imports it needs."
        fence = f"```python\n{prompt.strip()}\n```"
        return begun(self.setup, fenced_turns(f"{wish}\n{fence}"), params)

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Run its tests."""
        text = code_of(answer.text) if self.asks_in_turns else answer.text
        return graded(await humaneval.judge(sample.row, text, self.sandbox, self.form))
