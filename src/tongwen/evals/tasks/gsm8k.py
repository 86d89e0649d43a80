"""GSM8K: school arithmetic in words (Cobbe et al., 2021, https://arxiv.org/abs/2110.14168)."""

import math
from decimal import Decimal

from tongwen.errors import RequestError
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import Row, first, harness_draws, turns
from tongwen.evals.task import About, Preset, Task
from tongwen.judge import answers
from tongwen.judge.equality import value
from tongwen.judge.mathematics import extract, normalise

_STEPS = "\nLet's think step by step\n"
_BOX = "\nPlease reason step by step, and put your final answer within \\boxed{}."


class Gsm8k(Task):
    """The number that a worked solution ends on."""

    about = About(
        title="GSM8K",
        paper="https://arxiv.org/abs/2110.14168",
        licence="MIT",
        files=(
            ("gsm8k/test", "gsm8k/test_rows_0-699"),
            ("gsm8k/train", "gsm8k/train_sample500"),
            ("gsm8k/qwen_prompt",),
        ),
        obtain="`openai/gsm8k` on the Hugging Face hub; the four-shot prompt is gsm8k_prompt.txt "
        "of the Qwen repository's eval directory, as the field `prompt` of one JSON line",
        metric="the number in the box, behind `answer is`, or the last one, within 1e-4",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1; the first 4 exemplars of Qwen's own prompt",
                shots=4,
                base="worked examples before it",
                chat="the same as turns",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `gsm8k`: strict-match",
                shots=5,
                base="solved training rows, drawn anew for each",
            ),
            "boxed": Preset(
                source="Qwen2.5-Math, evaluation, prompt type qwen-boxed",
                chat="step by step, the answer in a box",
            ),
        },
        hub={
            "gsm8k/test": ("openai/gsm8k", "main/test-00000-of-00001.parquet"),
            "gsm8k/train": ("openai/gsm8k", "main/train-00000-of-00001.parquet"),
        },
    )

    @property
    def fixed_shots(self) -> int | None:
        """None before a question whose answer goes into a box."""
        return 0 if self.setup.preset == "boxed" else None

    def samples(self) -> list[Sample]:
        """Problems in the order of the file."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        return [
            Sample(id=str(number), row=row, shots=shots)
            for number, (row, shots) in enumerate(zip(rows, self._shots(len(rows)), strict=True))
        ]

    def question(self, sample: Sample) -> Question:
        """Solved problems, then this one, with room for the steps."""
        match self.setup.preset:
            case "harness":
                return Generate(
                    prompt=_as_harness(sample),
                    params=self.setup.sampling(256, ("Question:", "</s>", "<|im_end|>")),
                )
            case "boxed":
                asked = turns([], sample.row["question"] + _BOX, "You are a helpful assistant.")
                return Generate(prompt=asked, params=self.setup.sampling(2048))
        prompt = _as_turns(sample) if self.asks_in_turns else _as_text(sample)
        return Generate(prompt=prompt, params=self.setup.sampling(512, ("Question:",)))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether the number is the one behind `####`."""
        if self.setup.preset == "harness":
            return _harness_grade(answer.text, sample.row["answer"])
        gold = answers.gsm8k_gold(sample.row["answer"])
        if gold is None:
            raise RequestError(f"row {sample.id} of GSM8K has no number behind `####`")
        digits = answers.opencompass_gsm8k(answer.text)
        return _grade(answer.text, gold, {"opencompass": float(digits == f"{gold:f}")})

    def _shots(self, num_samples: int) -> list[tuple[Row, ...]]:
        if not self.num_shots:
            return [()] * num_samples
        _, train, prompt = self.about.files
        if self.setup.preset == "harness":
            pool = self.setup.data.rows(*train, hint=self.about.obtain)
            return harness_draws(pool, self.num_shots, num_samples)
        text = self.setup.data.rows(*prompt, hint=self.about.obtain)[0]["prompt"]
        return [first(_exemplars(text), self.num_shots, self.about.title)] * num_samples


def _exemplars(prompt: str) -> list[Row]:
    """The worked examples of Qwen's prompt."""
    parts = [block.partition(_STEPS) for block in prompt.strip().split("\n\n")]
    return [{"question": q.removeprefix("Question: "), "answer": a} for q, _, a in parts]


def _as_text(sample: Sample) -> str:
    told = [f"Question: {shot['question']}{_STEPS}{shot['answer']}\n\n" for shot in sample.shots]
    return "".join(told) + f"Question: {sample.row['question']}{_STEPS}"


def _as_turns(sample: Sample) -> list[dict[str, str]]:
    def ask(row: Row) -> str:
        return f"Question: {row['question']}{_STEPS}Answer:"

    return turns([(ask(shot), shot["answer"]) for shot in sample.shots], ask(sample.row))


def _as_harness(sample: Sample) -> str:
    told = [f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in sample.shots]
    return "".join(told) + f"Question: {sample.row['question']}\nAnswer:"


def _harness_grade(text: str, gold: str) -> Grade:
    strict, flexible = answers.harness_strict(text), answers.harness_flexible(text)
    return Grade(
        score=float(answers.harness_equal(strict, gold)),
        parsed=strict,
        metrics={"flexible-extract": float(answers.harness_equal(flexible, gold))},
    )


def _grade(text: str, gold: Decimal, metrics: dict[str, float]) -> Grade:
    """By Qwen2.5-Math's tolerance of 1e-4, but without its factor of 100 either way."""
    taken = extract(text)
    found = value(normalise(taken))
    if found is None and (last := answers.last_number(taken)) is not None:
        found = float(last)
    is_right = found is not None and math.isclose(found, gold, rel_tol=1e-4)
    return Grade(
        score=float(is_right),
        parsed=None if found is None else f"{found:.12g}",
        metrics=metrics,
        notes={"taken": taken},
    )
