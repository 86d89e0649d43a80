"""TheoremQA: theorems applied (Chen et al., 2023, https://arxiv.org/abs/2305.12524)."""

import json
import re

from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import Row, first, turns
from tongwen.evals.task import About, Preset, Task
from tongwen.judge import answers
from tongwen.judge.equality import split_commas, value
from tongwen.judge.mathematics import last_boxed, normalise

_TASK = "Solve the problem. End with a line that says: The answer is ...\n\n"
_POWER = re.compile(
    r"(-?\d[\d,]*(?:\.\d+)?)\s*(?:\\times|\\cdot|×|x|\*)\s*10\s*(?:\^|\*\*)\s*\{?\(?(-?\d+)"
)


Key = bool | int | float | str | list[float]


class TheoremQa(Task):
    """A number, a truth, an option or a list at the end of a worked solution."""

    about = About(
        title="TheoremQA",
        paper="https://arxiv.org/abs/2305.12524",
        licence="MIT",
        files=(("theoremqa/test",), ("theoremqa/fewshot_examples",)),
        obtain="https://github.com/TIGER-AI-Lab/TheoremQA: theoremqa_test.json, and the list of "
        "examples.py as rows of `question`, `answer`",
        metric="accuracy over the questions without a picture: whole numbers after rounding, "
        "others within 4 %, lists in any order, truths and options exactly",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1, 5-shot; TheoremQA's exemplars and comparison",
                shots=5,
                base="worked examples before it",
                chat="the same as turns",
            ),
        },
        hub={"theoremqa/test": ("TIGER-Lab/TheoremQA", "data/test-00000-of-00001.parquet")},
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, less those that show a picture."""
        files, hint = self.about.files, self.about.obtain
        pool = self.setup.data.rows(*files[1], hint=hint) if self.num_shots else []
        shots = first(pool, self.num_shots, self.about.title)
        return [
            Sample(id=str(row.get("id", number)), row=row, group=row["Answer_type"], shots=shots)
            for number, row in enumerate(self.setup.data.rows(*files[0], hint=hint))
            if not row["Picture"]
        ]

    def question(self, sample: Sample) -> Question:
        """Solved questions, then this one."""
        solved = [(shot["question"], shot["answer"]) for shot in sample.shots]
        if self.asks_in_turns:
            asked = turns(solved, sample.row["Question"], _TASK.strip())
            return Generate(prompt=asked, params=self.setup.sampling(1024))
        told = "".join(f"Problem:\n{asked}\nSolution:\n{answer}\n\n" for asked, answer in solved)
        return Generate(
            prompt=f"{_TASK}{told}Problem:\n{sample.row['Question']}\nSolution:\n",
            params=self.setup.sampling(1024, ("Problem:",)),
        )

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the key's, by the kind of answer."""
        taken = _taken(answer.text)
        return Grade(
            score=float(_is_right(taken, _gold(sample.row))),
            parsed=taken or None,
        )


def _taken(text: str) -> str:
    """What follows the last `answer is`, to the end of its line; else what stands in the box.

    Nothing else: of a solution that turns in circles until it is cut, some number would be right.
    """
    found = re.findall(r"answer is:?\s*(.+)", text)
    last = found[-1] if found else ""
    return (last_boxed(last or text) or last).strip(" *$.`")


def _gold(row: Row) -> Key:
    """The key; the hub writes numbers, lists and truths as text."""
    key: Key = row["Answer"]
    if not isinstance(key, str) or row["Answer_type"] == "option":
        return key
    read: Key = json.loads(key.lower() if row["Answer_type"] == "bool" else key)
    return read


def _is_right(taken: str, gold: Key) -> bool:
    match gold:
        case bool():
            said = re.search(r"\b(true|yes|false|no|not)\b", taken.lower())
            return said is not None and (said[1] in ("true", "yes")) is gold
        case str():
            said = re.search(r"\b([a-z])\b", taken.lower())
            return said is not None and said[1] == gold.strip("() ").lower()
        case list():
            return _are_near(taken, gold)
        case _:
            return _is_near(_number(taken), gold)


def _are_near(taken: str, gold: list[float]) -> bool:
    inside = re.search(r"[\[({](.*)[\])}]", normalise(taken))
    numbers = [_number(part) for part in split_commas(inside[1] if inside else taken)]
    known = sorted(number for number in numbers if number is not None)
    return len(known) == len(numbers) == len(gold) and all(map(_is_near, known, sorted(gold)))


def _is_near(found: float | None, gold: float) -> bool:
    """TheoremQA's rule: a whole number after rounding, another within 4 %."""
    if found is None:
        return False
    if isinstance(gold, int):
        return round(found) == gold
    return abs(found - gold) <= 0.04 * abs(gold)


def _number(text: str) -> float | None:
    """The number that `text` is or holds: digits, a fraction of such, a power of ten beside it."""
    power = _POWER.search(text)
    if power is not None and len(power[2]) < 4:
        return float(power[1].replace(",", "") + "e" + power[2])
    found = value(normalise(text))
    if found is None and (last := answers.last_number(text)) is not None:
        found = float(last)
    return found
