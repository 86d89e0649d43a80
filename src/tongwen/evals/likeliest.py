"""Questions whose choices are texts: which of them is the likeliest."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tongwen.evals.pools import harness_shots, same_shots
from tongwen.evals.question import Answer, Question, Rank, best
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One way to go on."""

    context: str
    """What stands before it, the same for all choices or not."""

    text: str
    """What is weighed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """The ways to go on, and the right one."""

    all: tuple[Choice, ...]
    gold: int


class Likeliest(Task):
    """Weighs each choice after the solved rows.

    `acc` takes the choice of the highest log-probability, `acc_norm` that of the highest per
    character of the choice, as lm-evaluation-harness does; the first of equals in both.
    """

    joint: ClassVar[str] = " "
    """Between context and choice; it counts for no character."""

    metric: ClassVar[Literal["acc", "acc_norm"]] = "acc"
    """Which of both is the score."""

    @abstractmethod
    def choices(self, row: Mapping[str, Any]) -> Choices:
        """A row as choices."""

    def in_order(self, rows: Sequence[Row], pool: Sequence[Row], *, spares: bool) -> list[Sample]:
        """Rows by their number, behind the first of `pool`; in the harness behind those it draws.

        Args:
            rows: The questions.
            pool: The solved rows.
            spares: As `harness_shots` has it.

        Raises:
            RequestError: `pool` has too few rows.
        """
        if self.setup.preset == "harness":
            pairs = harness_shots(rows, pool, self.num_shots, spares=spares)
        else:
            pairs = same_shots(rows, pool, self.num_shots, self.about.title)
        return [
            Sample(id=str(number), row=row, shots=shots)
            for number, (row, shots) in enumerate(pairs)
        ]

    def question(self, sample: Sample) -> Question:
        """The likelihood of each choice."""
        told = "".join(self._solved(shot) for shot in sample.shots)
        choices = self.choices(sample.row).all
        return Rank(pairs=tuple((told + one.context, self.joint + one.text) for one in choices))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the choice of the key."""
        choices = self.choices(sample.row)
        logprobs = [each.logprob for each in answer.likelihoods]
        lengths = [len(one.text) for one in choices.all]
        picked = {
            "acc": best(logprobs),
            "acc_norm": best([one / n for one, n in zip(logprobs, lengths, strict=True)]),
        }
        scores = {name: float(place == choices.gold) for name, place in picked.items()}
        return Grade(
            score=scores[self.metric],
            parsed=str(picked[self.metric]),
            metrics={name: score for name, score in scores.items() if name != self.metric},
        )

    def _solved(self, row: Mapping[str, Any]) -> str:
        choices = self.choices(row)
        right = choices.all[choices.gold]
        return f"{right.context}{self.joint}{right.text}\n\n"
