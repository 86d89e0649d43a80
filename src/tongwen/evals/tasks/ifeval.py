"""IFEval: instructions that a program can verify (Zhou et al., 2023, arXiv 2311.07911)."""

from collections.abc import Sequence
from dataclasses import replace

from tongwen.evals.figure import Figure, mean
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.shots import turns
from tongwen.evals.task import About, Preset, Setup, Task
from tongwen.judge.instructions.follow import Instructions


class IfEval(Task):
    """Whether an answer follows all the instructions of its prompt."""

    about = About(
        title="IFEval",
        paper="https://arxiv.org/abs/2311.07911",
        licence="Apache-2.0",
        files=(("ifeval/input_data",),),
        obtain="https://github.com/google-research/google-research, "
        "instruction_following_eval/data/input_data.jsonl; or `google/IFEval` on the hub",
        metric="prompts all of whose instructions are followed to the letter",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.2: strict accuracy of prompts",
                base="the prompt as it is",
                chat="the prompt as the user's message",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `ifeval`, without a template",
                base="the prompt as it is",
            ),
        },
        hub={"ifeval/input_data": ("google/IFEval", "ifeval_input_data.jsonl")},
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._instructions = Instructions()

    def samples(self) -> list[Sample]:
        """Prompts in the order of the file."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        return [Sample(id=str(row["key"]), row=row) for row in rows]

    def question(self, sample: Sample) -> Question:
        """The prompt, and nothing else."""
        prompt = sample.row["prompt"]
        params = self.setup.sampling(1280)
        return Generate(prompt=turns([], prompt) if self.asks_in_turns else prompt, params=params)

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Strictly, as it stands; and loosely, without first or last line or asterisks."""
        strict = self._instructions.follows(sample.row, answer.text)
        loose = self._instructions.follows(sample.row, answer.text, loose=True)
        return Grade(
            score=float(all(strict)),
            parsed=", ".join(_followed(sample, strict)) or None,
            metrics={"prompt-loose": float(all(loose))},
            notes={"strict": strict, "loose": loose},
        )

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """Over prompts; of the metrics those `instruction-` are over all instructions alike."""
        figure = mean(graded)
        shares = {f"instruction-{how}": _share(graded, how) for how in ("strict", "loose")}
        return replace(figure, metrics={**figure.metrics, **shares})


def _followed(sample: Sample, strict: Sequence[bool]) -> list[str]:
    names = sample.row["instruction_id_list"]
    return [name for name, is_followed in zip(names, strict, strict=True) if is_followed]


def _share(graded: Sequence[Graded], how: str) -> float:
    verdicts = [verdict for each in graded for grade in each.grades for verdict in grade.notes[how]]
    return sum(verdicts) / len(verdicts)
