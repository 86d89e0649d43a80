"""BBH: 23 hard tasks of BIG-Bench (Suzgun et al., 2022, https://arxiv.org/abs/2210.09261)."""

import re
from collections.abc import Sequence

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, macro
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.judge.answers import after_answer_is, bbh_equal

_HARNESS = re.compile(r"(?<=the answer is )(.*)(?=.)")
_STEPS = "\nA: Let's think step by step."
_WISH = "Follow the given examples and answer the question.\n"


class Bbh(Task):
    """What a chain of thought like those of the prompt ends on; 27 tasks in the files."""

    about = About(
        title="BBH",
        paper="https://arxiv.org/abs/2210.09261",
        licence="MIT",
        files=(("bbh/test",), ("bbh/cot_prompts",)),
        obtain="https://github.com/suzgunmirac/BIG-Bench-Hard: bbh/*.json as rows of `task`, "
        "`input`, `target`; cot-prompts/*.txt as rows of `task`, `prompt`",
        metric="exact match behind `answer is`; mean over 27 tasks",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1, 3-shot chain of thought; OpenCompass bbh_gen",
                shots=3,
                base="worked examples before it",
                chat="worked examples in one message",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `bbh_cot_fewshot`",
                shots=3,
                base="worked examples before it",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, grouped by task."""
        files, hint = self.about.files, self.about.obtain
        prompts = {row["task"]: row for row in self.setup.data.rows(*files[1], hint=hint)}
        made: list[Sample] = []
        places: dict[str, int] = {}
        for row in self.setup.data.rows(*files[0], hint=hint):
            task = row["task"]
            if task not in prompts:
                raise RequestError(f"BBH has no worked examples for its task `{task}`")
            places[task] = places.get(task, -1) + 1
            name, shots = f"{task}/{places[task]}", (prompts[task],)
            made.append(Sample(id=name, row=row, group=task, shots=shots))
        return made

    def question(self, sample: Sample) -> Question:
        """The task, its worked examples, and the question."""
        told = _told(sample.shots[0]["prompt"], self.num_shots)
        if self.setup.preset == "harness":  # one of the 27 has a blank there in the paper's files
            told = told.replace(f"{_STEPS} ", f"{_STEPS}\n")
        text = f"{told}\n\nQ: {sample.row['input']}{_STEPS}"
        if self.asks_in_turns:
            asked = [{"role": "user", "content": _WISH + text}]
            return Generate(prompt=asked, params=self.setup.sampling(1024))
        stop = ("</s>", "Q", "\n\n") if self.setup.preset == "harness" else ("\n\nQ:",)
        return Generate(prompt=f"{text}\n", params=self.setup.sampling(1024, stop))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the target, word for word, or its letter."""
        target = sample.row["target"]
        if self.setup.preset == "harness":
            match = _HARNESS.search(answer.text)
            taken = match[1].strip() if match else "[invalid]"
            return Grade(score=float(taken == target), parsed=taken)
        taken = _taken(answer.text, target)
        return Grade(score=float(bbh_equal(taken, target)), parsed=taken or None)

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The mean over tasks."""
        return macro(graded)


def _told(prompt: str, num_shots: int) -> str:
    """The description and the first examples, without the file's notice above its dashes."""
    text = prompt.rpartition("\n-----\n")[2].strip()
    head, *examples = text.split("\n\nQ: ")
    if num_shots > len(examples):
        raise RequestError(
            f"BBH has {len(examples)} worked examples, not {num_shots}", hint="--shots 3, or fewer"
        )
    return "\n\nQ: ".join([head, *examples[:num_shots]])


def _taken(text: str, target: str) -> str:
    """What follows `answer is`, without dress; where a choice is wanted, its letter alone."""
    plain = re.sub(r"[*$`]|\\boxed|\\text", "", text)
    taken = after_answer_is(re.sub(r"answer is\s*:\s*", "answer is ", plain)).strip("\"'. ")
    if re.fullmatch(r"\([A-Z]\)", target):
        letter = re.search(r"\(([A-Z])\)|\b([A-Z])\b", taken)
        return f"({letter[1] or letter[2]})" if letter else taken
    is_boxed = "\\boxed" in text and taken.startswith("{")
    return taken.removeprefix("{").removesuffix("}") if is_boxed else taken
