"""Arena-Hard: 500 hard questions, against GPT-4's answers (Li et al., arXiv 2406.11939)."""

import random
import re
from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.evals.verdict import Judge, Tries, filled, in_both_orders

_POINTS = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2, "B=A": 0}
_POINTS |= {"A<B": -1, "A<<B": -2, "B<A": 1, "B<<A": 2}
_CLEAR = 3
"""Battles that a `>>` counts for (arena-hard-auto `show_result.py`)."""

_ROUNDS = 1000
"""Of the bootstrap; arena-hard-auto draws 100."""

_JUDGE = """\
You compare two answers to the same request, one by assistant A and one by assistant B.
First solve the request yourself and write your solution down.  Then hold both answers against it: \
name what is wrong in each, and say which is more correct, more to the point and clearer; say what \
either leaves out that the user needs.  Who stands first, and which is longer, must not matter.
End with exactly one of these five verdicts, in double brackets:
[[A>>B]] A is much better
[[A>B]] A is a little better
[[A=B]] both are about as good
[[B>A]] B is a little better
[[B>>A]] B is much better"""


class ArenaHard(Task):
    """How often the judge prefers the model to the stored answers, asked in both orders."""

    about = About(
        title="Arena-Hard",
        paper="https://arxiv.org/abs/2406.11939",
        licence="Apache-2.0",
        files=(
            ("arena_hard/question_v0.1", "arena_hard/question"),
            ("arena_hard/baseline_gpt-4-0314",),
            ("arena_hard/judge_config",),
        ),
        obtain="https://github.com/lmarena/arena-hard-auto, data/arena-hard-v0.1",
        metric="win rate against gpt-4-0314, a clear verdict counting as three battles",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.2.1; arena-hard-auto v0.1, greedy, 4096 tokens",
                chat="one turn, compared in both orders",
            )
        },
        needs=("judge",),
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, with the baseline's answer."""
        data, hint = self.setup.data, self.about.obtain
        known = {
            row["uid"]: _baseline(row)
            for row in data.rows("arena_hard/baseline_gpt-4-0314", hint=hint)
        }
        config = data.rows("arena_hard/judge_config", hint=hint)[0]
        found = []
        for row in data.rows(*self.about.files[0], hint=hint):
            if row["uid"] not in known:
                raise RequestError(f"the baseline has no answer to question `{row['uid']}`")
            asked = {**row, "baseline": known[row["uid"]], "judge": config}
            found.append(Sample(id=row["uid"], row=asked))
        return found

    def question(self, sample: Sample) -> Question:
        """What the user wants."""
        asked = [{"role": "user", "content": sample.row["prompt"]}]
        return Generate(prompt=asked, params=self.setup.sampling(4096))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Wins among the battles: 1 or 3 of each order, a tie half a win."""
        row = sample.row

        def read(text: str) -> str | None:
            return arena_label(text, row["judge"]["regex_patterns"])

        def asked(first: str, second: str) -> list[dict[str, str]]:
            return _asked(row, first, second)

        judge = Judge(self.judge, seed=self.setup.seed, tries=Tries(max_tokens=4096))
        pair = (row["baseline"], answer.text)
        against, ahead = await in_both_orders(judge, asked, pair, read)
        points = (-_POINTS[against.value], _POINTS[ahead.value])
        battles = sum(_battles(each) for each in points)
        wins = sum(_battles(each) * (1 + (each > 0) - (each < 0)) / 2 for each in points)
        return Grade(
            score=wins / battles,
            parsed=f"{against.value} {ahead.value}",
            metrics={
                "battles": float(battles),
                "wins": wins,
                "consistent": float(points[0] == points[1]),
            },
            notes={"baseline_first": dict(against.notes), "model_first": dict(ahead.notes)},
        )

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """Wins over battles, with the interval that 1000 drawn sets of questions span.

        Between one model and one baseline this is the Bradley-Terry estimate: its likelihood is
        highest where the predicted win rate is the observed one.  Questions are drawn, not
        battles as arena-hard-auto does: both orders of a question are not independent.
        """
        pairs = [(g.metrics["wins"], g.metrics["battles"]) for each in graded for g in each.grades]
        rng = random.Random(self.setup.seed)
        drawn = sorted(_rate(rng.choices(pairs, k=len(pairs))) for _ in range(_ROUNDS))
        consistent = [g.metrics["consistent"] for each in graded for g in each.grades]
        return Figure(
            score=_rate(pairs),
            stderr=stdev(drawn) if len(pairs) > 1 else None,
            metrics={
                "low_95": drawn[_ROUNDS // 40],
                "high_95": drawn[-_ROUNDS // 40 - 1],
                "consistent": sum(consistent) / len(consistent),
            },
        )


def arena_label(text: str, patterns: Sequence[str]) -> str | None:
    """The verdict that a text settles on; `None`: none, or several that differ.

    Args:
        text: The judge's words.
        patterns: Of those that find anything, the first decides.
    """
    for pattern in patterns:
        found = {each for each in re.findall(pattern, text) if each}
        if found:
            return found.pop() if len(found) == 1 and found <= _POINTS.keys() else None
    return None


def _battles(points: int) -> int:
    return _CLEAR if abs(points) > 1 else 1


def _rate(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(wins for wins, _ in pairs) / sum(battles for _, battles in pairs)


def _asked(row: Mapping[str, Any], first: str, second: str) -> list[dict[str, str]]:
    values = {"QUESTION": row["prompt"], "ANSWER_A": first, "ANSWER_B": second}
    return [
        {"role": "system", "content": row["judge"].get("system_prompt") or _JUDGE},
        {"role": "user", "content": filled(row["judge"]["prompt_template"], values)},
    ]


def _baseline(row: Mapping[str, Any]) -> str:
    """The stored answer: the last message, plain or as `{"answer": ...}`."""
    said = row["messages"][-1]["content"]
    return str(said["answer"] if isinstance(said, Mapping) else said)
