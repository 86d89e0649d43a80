"""What the benchmarks of code share: how programs are asked for, and a verdict as a grade."""

import re
from dataclasses import replace

from tongwen.engine.params import SamplingParams
from tongwen.evals.question import Generate
from tongwen.evals.sample import Grade
from tongwen.evals.task import Setup
from tongwen.judge.verdict import Verdict

FENCE = "```"

BASE_STOPS = ("\nclass ", "\ndef ", "\n#", "\nif __name__", "\nprint(", "\nassert ", "\n" + FENCE)
"""Where a base model that completes a function has gone past it."""

CODER_SYSTEM = (
    "You are an intelligent programming assistant to produce Python algorithmic solutions"
)
CODER_STOPS = ("\n" + FENCE, "\nif __name__", "\ndef main(", "\nprint(", "\n#")
"""Of Qwen2.5-Coder's evaluation (qwencoder-eval/instruct/eval_plus)."""


def coder_turns(asked: str, code: str) -> list[dict[str, str]]:
    """Qwen2.5-Coder's question: the code in a fence, the answer begun with one."""
    return [
        {"role": "system", "content": CODER_SYSTEM},
        {"role": "user", "content": f"{asked}\n{FENCE}python\n{code.strip()}\n{FENCE}"},
        {"role": "assistant", "content": f"{FENCE}python\n"},
    ]


def fenced_turns(asked: str, language: str = "python") -> list[dict[str, str]]:
    """A question whose answer is begun with a fence, so that nothing but code comes."""
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": f"{FENCE}{language}\n"},
    ]


def begun(setup: Setup, turns: list[dict[str, str]], params: SamplingParams) -> Generate:
    """A question whose answer is begun; where nobody goes on with that, the whole answer is asked.

    What ends a program may stand in the words before it, so that nothing is cut there then.
    """
    if setup.continues_answers:
        return Generate(prompt=turns, params=params)
    return Generate(prompt=turns[:-1], params=replace(params, stop=()))


def code_of(text: str) -> str:
    """What stands in the first fence of an answer; the answer, where there is none."""
    found = re.search(r"```[\w+#-]*\n(.*?)(?:\n```|\Z)", text, re.DOTALL)
    return found[1] if found else text


def graded(verdict: Verdict, **metrics: float) -> Grade:
    """Whether it passed, and if not, why."""
    return Grade(score=float(verdict.passed), metrics=metrics, notes={"verdict": verdict.reason})
