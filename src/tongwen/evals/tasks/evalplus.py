"""HumanEval+ and MBPP+: many more inputs for each function (Liu et al., 2023, arXiv 2305.01210)."""

from typing import ClassVar

from tongwen.evals.code import CODER_STOPS, begun, code_of, coder_turns, fenced_turns
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.evals.tasks.humaneval import HumanEval
from tongwen.judge import evalplus
from tongwen.judge.evalplus import PlusVerdict
from tongwen.judge.sanitize import sanitize

_PAPER = "https://arxiv.org/abs/2305.01210"
_METRIC = "pass@1 on the benchmark's own inputs and on EvalPlus's; `base`: on its own alone"
_EARLY = "evalplus/HumanEvalPlus_prerelease_2023-04"


class HumanEvalPlus(HumanEval):
    """Whether the function returns what the reference returns, on inputs that are hard."""

    about = About(
        title="HumanEval+",
        paper=_PAPER,
        licence="Apache-2.0",
        files=(("evalplus/HumanEvalPlus-v0.1.10", _EARLY), ("humaneval/HumanEval",)),
        obtain="HumanEvalPlus-v0.1.10.jsonl.gz of EvalPlus's releases; the inputs of April 2023 "
        "are fewer, and figures on them must say so",
        metric=_METRIC,
        takes_shots=False,
        presets=HumanEval.about.presets,
        needs=("sandbox",),
        hub=HumanEval.about.hub,
    )

    def samples(self) -> list[Sample]:
        """Functions with HumanEval's own prompt; of the first inputs, those that have any."""
        plus, own = self.about.files
        rows = self.setup.data.rows(*plus, hint=self.about.obtain)
        originals = {row["task_id"]: row for row in self.setup.data.rows(*own)}
        return [
            Sample(id=row["task_id"], row={**originals[row["task_id"]], "evalplus": row})
            for row in rows
        ]

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Hold its values to those of the reference."""
        row = sample.row["evalplus"]
        row = {"reference": row.get("canonical_solution"), **row}
        reference = await evalplus.humaneval_reference(row, sample.row, self.sandbox)
        found = await evalplus.judge_humaneval(
            sample.row, code_of(answer.text), reference, self.sandbox
        )
        return _graded(found, reference.num_dropped)


class MbppPlus(Task):
    """The same of MBPP."""

    about: ClassVar[About] = About(
        title="MBPP+",
        paper=_PAPER,
        licence="Apache-2.0",
        files=(("evalplus/MbppPlus", "evalplus/MbppPlus-v0.1.0_ids_1-300"),),
        obtain="MbppPlus.jsonl.gz of EvalPlus's releases; Qwen's figures are on v0.1.0",
        metric=_METRIC,
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 0-shot; EvalPlus for the form",
                base="the docstring is continued",
                chat="the docstring, the answer begun with a fence",
            ),
            "qwen2.5-coder": Preset(
                source="Qwen2.5-Coder, qwencoder-eval/instruct/eval_plus",
                base="the docstring is continued",
                chat="a system line, the docstring in a fence, the answer begun with one",
            ),
        },
        needs=("sandbox",),
    )

    def samples(self) -> list[Sample]:
        """Functions in the order of the file."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        return [Sample(id=str(row["task_id"]), row=row) for row in rows]

    def question(self, sample: Sample) -> Question:
        """The docstring, which says the task and holds one assert."""
        prompt: str = sample.row["prompt"]
        if not self.asks_in_turns:
            params = self.setup.sampling(768, ('\n"""', "\nassert"))
            return Generate(prompt=prompt.strip() + "\n", params=params)
        params = self.setup.sampling(768, CODER_STOPS)
        if self.setup.preset == "qwen2.5-coder":
            asked = "Can you complete the following Python function?"
            return begun(self.setup, coder_turns(asked, prompt), params)
        wish = "Write the Python function that this docstring asks for."
        asked = f"{wish}\n```python\n{prompt.strip()}\n```"
        return begun(self.setup, fenced_turns(asked), params)

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Hold its values to those of the reference."""
        reference = await evalplus.mbpp_reference(sample.row, self.sandbox)
        source = sanitize(code_of(answer.text), sample.row["entry_point"])
        found = await evalplus.judge(source, reference, self.sandbox)
        return _graded(found, reference.num_dropped)


def _graded(found: PlusVerdict, num_dropped: int) -> Grade:
    return Grade(
        score=float(found.plus.passed),
        metrics={"base": float(found.base.passed)},
        notes={
            "base": found.base.reason,
            "plus": found.plus.reason,
            "inputs dropped": num_dropped,
        },
    )
