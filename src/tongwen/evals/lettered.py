"""Questions whose choices bear letters: which letter is the likeliest, or which one is written.

The following are ... about anatomy.      head
                                          (blank line)
Which bone is the longest?                ┐
A. the femur                              │ problem
...                                       │
Answer:                                   ┘ cue
Answer: A  /  Answer: B  / ...            the letters that are ranked
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.evals.question import Answer, Generate, Question, Rank
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import Task
from tongwen.judge.choices import alone

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A question with its choices."""

    text: str
    """Question and choices, up to where the answer is called for."""

    answer: str
    """The letter of the key."""

    letters: str = "ABCD"


def lettered(question: str, choices: Sequence[str], answer: int | str) -> Problem:
    """A problem of a question and the words of its choices, one line each.

    Args:
        question: Without choices.
        choices: Their words.
        answer: Place of the right one from 0 on, or its letter.
    """
    letters = LETTERS[: len(choices)]
    lines = [f"{letter}. {choice}" for letter, choice in zip(letters, choices, strict=True)]
    letter = letters[answer] if isinstance(answer, int) else answer.strip()
    return Problem(text="\n".join([question.strip(), *lines]), answer=letter, letters=letters)


class Lettered(Task):
    """Ranks the letters after the solved rows; a chat model writes one."""

    joint: str = " "
    """Between the call for an answer and its letter."""

    @abstractmethod
    def problem(self, row: Mapping[str, Any]) -> Problem:
        """A row as text."""

    def head(self, sample: Sample) -> str:
        """What stands before everything."""
        return ""

    def cue(self, sample: Sample) -> str:
        """What calls for the answer."""
        return "Answer:"

    def wish(self, sample: Sample) -> str:
        """What a chat model is told before each problem."""
        letters = self.problem(sample.row).letters
        return f"Reply with the letter of the right choice alone, {letters[0]} to {letters[-1]}.\n"

    def letter(self, text: str, letters: str) -> str | None:
        """The letter that a chat model means: the first that stands alone."""
        return alone(text, letters)

    def question(self, sample: Sample) -> Question:
        """The likelihood of each letter; of a chat model its answer after solved ones."""
        problem, cue = self.problem(sample.row), self.cue(sample)
        if self.asks_in_turns:
            return Generate(prompt=self._turns(sample), params=self.setup.sampling(16))
        told = "".join(
            f"{shot.text}\n{cue}{self.joint}{shot.answer}\n\n"
            for shot in map(self.problem, sample.shots)
        )
        context = f"{self.head(sample)}{told}{problem.text}\n{cue}"
        return Rank(pairs=tuple((context, self.joint + letter) for letter in problem.letters))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the letter of the key."""
        problem = self.problem(sample.row)
        if self.asks_in_turns:
            letter = self.letter(answer.text, problem.letters)
        else:
            letter = problem.letters[answer.best]
        return Grade(score=float(letter == problem.answer), parsed=letter)

    def _turns(self, sample: Sample) -> list[dict[str, str]]:
        wish, cue = self.wish(sample), self.cue(sample)
        turns: list[dict[str, str]] = []
        for shot in map(self.problem, sample.shots):
            turns.append({"role": "user", "content": f"{wish}{shot.text}\n{cue}"})
            turns.append({"role": "assistant", "content": shot.answer})
        problem = self.problem(sample.row)
        return [*turns, {"role": "user", "content": f"{wish}{problem.text}\n{cue}"}]
