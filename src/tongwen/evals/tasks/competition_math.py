"""MATH: competition problems (Hendrycks et al., 2021, https://arxiv.org/abs/2103.03874)."""

import asyncio
import re
import weakref
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, mean
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.shots import Row, first, turns
from tongwen.evals.task import About, Preset, Setup, Task
from tongwen.judge.equality import Equality
from tongwen.judge.mathematics import extract, last_boxed
from tongwen.judge.symbolic import Symbolic, UndecidedError

_BOX = "\nPlease reason step by step, and put your final answer within \\boxed{}."
_HARNESS = re.compile(r"Final Answer: The final answer is(.*?). I hope it is correct.")


class CompetitionMath(Task):
    """Whether the final answer of a worked solution equals the one in the key's box."""

    about = About(
        title="MATH",
        paper="https://arxiv.org/abs/2103.03874",
        licence="MIT",
        files=(("math/test", "math/test_sample1499"), ("math/minerva_fewshot4",)),
        obtain="https://github.com/hendrycks/math, or `DigitalLearningGmbH/MATH-lighteval` on the "
        "Hugging Face hub; the four exemplars are Minerva's (arXiv 2206.14858, appendix D)",
        metric="accuracy of the final answer, equal in form or by sympy",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1, 4-shot: Minerva's exemplars; chat models as "
                "Qwen2.5-Math's prompt type qwen-boxed, without shots",
                shots=4,
                base="worked examples before it",
                chat="step by step, the answer in a box",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `minerva_math`; equality is this package's",
                shots=4,
                base="worked examples before it",
            ),
            "opencompass": Preset(
                source="OpenCompass math_gen: Minerva's exemplars as turns",
                shots=4,
                base="worked examples before it",
                chat="worked examples as turns",
            ),
        },
        hub={
            "math/test": ("DigitalLearningGmbH/MATH-lighteval", "data/test-00000-of-00001.parquet")
        },
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        symbolic = Symbolic()
        weakref.finalize(self, symbolic.close)
        self._equality = Equality(symbolic)

    @property
    def fixed_shots(self) -> int | None:
        """None before a question whose answer goes into a box."""
        return 0 if self._is_boxed else None

    def samples(self) -> list[Sample]:
        """Problems in the order of the file, grouped by their subject."""
        files, hint = self.about.files, self.about.obtain
        shots: tuple[Row, ...] = ()
        if self.num_shots:
            pool = self.setup.data.rows(*files[1], hint=hint)
            shots = first([_mended(row) for row in pool], self.num_shots, self.about.title)
        return [
            Sample(id=str(row.get("idx", number)), row=row, group=row["type"], shots=shots)
            for number, row in enumerate(self.setup.data.rows(*files[0], hint=hint))
        ]

    def question(self, sample: Sample) -> Question:
        """The problem behind four solved ones; of a chat model the answer in a box."""
        if self._is_boxed:
            asked = turns([], sample.row["problem"] + _BOX, "You are a helpful assistant.")
            return Generate(prompt=asked, params=self.setup.sampling(2048))
        solved = [(_problem(shot), shot["solution"]) for shot in sample.shots]
        if self.asks_in_turns:
            return Generate(
                prompt=turns(solved, _problem(sample.row)), params=self.setup.sampling(1024)
            )
        text = "".join(f"{problem} {solution}\n\n" for problem, solution in solved)
        max_tokens = 256 if self.setup.preset == "harness" else 1024
        return Generate(
            prompt=text + _problem(sample.row),
            params=self.setup.sampling(max_tokens, ("Problem:",)),
        )

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether the final answer is that of the key; one that nobody can tell is wrong."""
        gold = last_boxed(sample.row["solution"])
        if gold is None:
            raise RequestError(f"the solution of problem {sample.id} of MATH has no box")
        found = self._found(answer.text)
        if not found:
            return Grade(score=0.0)
        try:
            is_equal = await asyncio.to_thread(self._equality.equal, found, gold)
        except UndecidedError as error:
            return Grade(score=0.0, parsed=found, notes={"undecided": str(error)})
        return Grade(score=float(is_equal), parsed=found)

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """Over problems; the metrics `level_1` to `level_5` over those of each difficulty."""
        scores: dict[str, list[float]] = defaultdict(list)
        for each in graded:
            if level := re.search(r"[1-5]$", str(each.sample.row.get("level", ""))):
                scores[f"level_{level[0]}"].append(each.score)
        plain = mean(graded)
        levels = {name: fmean(scores[name]) for name in sorted(scores)}
        return replace(plain, metrics={**plain.metrics, **levels})

    @property
    def _is_boxed(self) -> bool:
        return self.asks_in_turns and self.setup.preset == "qwen2-report"

    def _found(self, text: str) -> str:
        if self.setup.preset == "harness":
            match = _HARNESS.search(text + "I hope it is correct.")
            found = match[1].strip() if match else ""
        else:
            found = extract(text)
        return last_boxed(found) or found


def _mended(row: Row) -> Row:
    r"""The exemplar without the flaws of copies that travel: a stray `}`, half of each `\\`."""
    whole = {
        name: re.sub(r"(?<!\\)\\\n", "\\\\\\\\\n", row[name]) for name in ("problem", "solution")
    }
    stray = whole["problem"].count("}") > whole["problem"].count("{")
    return whole | {"problem": whole["problem"].removesuffix("}")} if stray else whole


def _problem(row: Row) -> str:
    return f"Problem:\n{row['problem']}\n\nSolution:"
