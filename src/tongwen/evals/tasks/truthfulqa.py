"""TruthfulQA: what people wrongly believe (Lin et al., 2022, https://arxiv.org/abs/2109.07958)."""

from collections.abc import Iterable, Mapping, Sequence
from math import exp
from typing import Any, TypeAlias

from tongwen.evals.question import Answer, Question, Rank, best
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import About, Preset, Task

_HARNESS = "lm-evaluation-harness 0.4.13, `truthfulqa_mc2` (score) and `truthfulqa_mc1`"


_Target: TypeAlias = tuple[str, bool]
"""A listed answer, and whether it is true."""


class TruthfulQa(Task):
    """How much of the likelihood of all listed answers the true ones have.

    MC2 is that share; MC1 says whether the best answer is likelier than every false one.
    """

    about = About(
        title="TruthfulQA",
        paper="https://arxiv.org/abs/2109.07958",
        licence="Apache-2.0",
        files=(("truthfulqa/truthfulqa",), ("truthfulqa/qa_prompt",)),
        obtain="https://github.com/sylinrl/TruthfulQA (TruthfulQA.csv), or `truthfulqa/truthful_qa`"
        " (multiple_choice) on the Hugging Face hub; the six solved questions before each are the "
        "`prompt` of one row, `truthfulqa/qa_prompt`",
        metric="MC2: normalised probability of the true answers",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 0-shot, MC2; " + _HARNESS,
                base="likelihood of each listed answer",
            ),
            "harness": Preset(source=_HARNESS, base="likelihood of each listed answer"),
        },
        hub={
            "truthfulqa/truthfulqa": (
                "truthfulqa/truthful_qa",
                "multiple_choice/validation-00000-of-00001.parquet",
            )
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file; the six of the preset stand before each."""
        data, hint = self.setup.data, self.about.obtain
        prompt = data.rows("truthfulqa/qa_prompt", hint=hint)[0]
        return [
            Sample(id=str(number), row=row, shots=(prompt,))
            for number, row in enumerate(data.rows("truthfulqa/truthfulqa", hint=hint))
        ]

    def question(self, sample: Sample) -> Question:
        """The likelihood of every answer of both metrics, each once."""
        asked = sample.row.get("question") or sample.row["Question"]
        context = f"{sample.shots[0]['prompt']}\n\nQ: {asked}\nA:"
        return Rank(pairs=tuple((context, f" {text}") for text in _listed(sample.row)))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """MC2, and MC1 beside it."""
        listed, likelihoods = _listed(sample.row), answer.likelihoods
        logprobs = {text: each.logprob for text, each in zip(listed, likelihoods, strict=True)}
        single, several = _targets(sample.row)
        text, is_true = single[best([logprobs[text] for text, _ in single])]
        return Grade(
            score=_true_share(several, logprobs), parsed=text, metrics={"mc1": float(is_true)}
        )


def _targets(row: Mapping[str, Any]) -> tuple[list[_Target], list[_Target]]:
    """Those of MC1 and those of MC2."""
    if "mc1_targets" in row:
        return _labelled(row["mc1_targets"]), _labelled(row["mc2_targets"])
    false = [(text, False) for text in _closed(row["Incorrect Answers"].split(";"))]
    true = [(text, True) for text in _closed(row["Correct Answers"].split(";"))]
    best_one = [(text, True) for text in _closed([row["Best Answer"]])]
    return best_one + false, true + false


def _labelled(targets: Mapping[str, Sequence[Any]]) -> list[_Target]:
    pairs = zip(targets["choices"], targets["labels"], strict=True)
    return [(text, bool(label)) for text, label in pairs]


def _closed(answers: Iterable[str]) -> list[str]:
    """Answers with a full stop each, as TruthfulQA's own code puts it."""
    parts = [part.strip() for part in answers]
    return [part if part.endswith(".") else f"{part}." for part in parts if part]


def _listed(row: Mapping[str, Any]) -> list[str]:
    single, several = _targets(row)
    return list(dict.fromkeys(text for text, _ in single + several))


def _true_share(targets: Sequence[_Target], logprobs: Mapping[str, float]) -> float:
    most = max(logprobs[text] for text, _ in targets)
    shares = [(exp(logprobs[text] - most), is_true) for text, is_true in targets]
    return sum(share for share, is_true in shares if is_true) / sum(share for share, _ in shares)
