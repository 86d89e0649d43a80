"""MT-Bench: 80 conversations of two turns, rated 1 to 10 (Zheng et al., arXiv 2306.05685)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from tongwen.errors import RequestError
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.evals.verdict import Judge, Verdict, filled, rating

_TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""By category (FastChat `llm_judge/common.py`); all others 0."""

_WITH_REFERENCE = ("math", "reasoning", "coding")


class MtBench(Task):
    """Each turn rated by itself, the second in sight of the first."""

    about = About(
        title="MT-Bench",
        paper="https://arxiv.org/abs/2306.05685",
        licence="Apache-2.0",
        files=(
            ("mt_bench/question",),
            ("mt_bench/reference_answer_gpt-4",),
            ("mt_bench/judge_prompts",),
        ),
        obtain="https://github.com/lm-sys/FastChat, fastchat/llm_judge/data",
        metric="mean rating of both turns by the judge, over 10",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.2.1; single-answer grading of FastChat, greedy",
                chat="two turns, each rated with FastChat's prompts",
            ),
            "fastchat": Preset(
                source="FastChat llm_judge: a temperature for each category, 1024 tokens a turn",
                chat="two turns, each rated with FastChat's prompts",
            ),
        },
        needs=("judge",),
    )

    def samples(self) -> list[Sample]:
        """Conversations in the order of the file, with their reference answers."""
        hint = self.about.obtain
        references = {
            row["question_id"]: tuple(row["choices"][0]["turns"])
            for row in self.setup.data.rows("mt_bench/reference_answer_gpt-4", hint=hint)
        }
        prompts = {row["name"]: row for row in self._prompts()}
        found = []
        for row in self.setup.data.rows("mt_bench/question", hint=hint):
            kind = "single-math-v1" if row["category"] in _WITH_REFERENCE else "single-v1"
            known = references.get(row["question_id"], ())
            if kind == "single-math-v1" and len(known) < 2:
                raise RequestError(f"question {row['question_id']} has no reference answer")
            asked = {**row, "known": known, "judge_prompts": _both(prompts, kind)}
            found.append(Sample(id=str(row["question_id"]), row=asked, group=row["category"]))
        return found

    def question(self, sample: Sample) -> Question:
        """Both turns, one after the other."""
        first, *others = sample.row["turns"]
        params = self.setup.sampling(1024)
        if self.setup.preset == "fastchat":
            params = replace(params, temperature=_TEMPERATURES.get(sample.group, 0.0))
        asked = [{"role": "user", "content": first}]
        return Generate(prompt=asked, params=params, follow_ups=tuple(others))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """The mean of the ratings of both turns."""
        judge = Judge(self.judge, seed=self.setup.seed)
        verdicts: list[Verdict[float]] = []
        for turn, prompt in enumerate(sample.row["judge_prompts"], start=1):
            asked = _asked(prompt, sample.row, answer.turns[:turn])
            verdicts.append(await judge.verdict(asked, rating))
        ratings = [verdict.value for verdict in verdicts]
        turns = {f"rating_turn_{turn}": value for turn, value in enumerate(ratings, start=1)}
        return Grade(
            score=fmean(ratings) / 10,
            parsed=" ".join(f"{value:g}" for value in ratings),
            metrics={"rating": fmean(ratings), **turns},
            notes={"turns": [dict(verdict.notes) for verdict in verdicts]},
        )

    def _prompts(self) -> list[dict[str, Any]]:
        return self.setup.data.rows("mt_bench/judge_prompts", hint=self.about.obtain)


def _both(prompts: Mapping[str, Mapping[str, Any]], kind: str) -> tuple[Mapping[str, Any], ...]:
    """The judge's prompts of the first and of the second turn."""
    names = (kind, f"{kind}-multi-turn")
    if absent := [name for name in names if name not in prompts]:
        raise RequestError(f"`mt_bench/judge_prompts` has no `{absent[0]}`")
    return tuple(prompts[name] for name in names)


def _asked(
    prompt: Mapping[str, Any], row: Mapping[str, Any], turns: Sequence[str]
) -> list[dict[str, str]]:
    values = {"question": row["turns"][0], "answer": turns[0]}
    for number, (asked, said) in enumerate(zip(row["turns"], turns, strict=False), start=1):
        values |= {f"question_{number}": asked, f"answer_{number}": said}
    values |= {f"ref_answer_{n}": text for n, text in enumerate(row["known"], start=1)}
    return [
        {"role": "system", "content": prompt["system_prompt"]},
        {"role": "user", "content": filled(prompt["prompt_template"], values)},
    ]
