"""The benchmarks by name."""

import difflib
from collections.abc import Sequence

from tongwen.errors import RequestError
from tongwen.evals.task import Task
from tongwen.evals.tasks.arc_challenge import ArcChallenge
from tongwen.evals.tasks.gsm8k import Gsm8k
from tongwen.evals.tasks.hellaswag import HellaSwag
from tongwen.evals.tasks.humaneval import HumanEval
from tongwen.evals.tasks.mbpp import Mbpp
from tongwen.evals.tasks.mmlu import Mmlu
from tongwen.evals.tasks.truthfulqa import TruthfulQa
from tongwen.evals.tasks.winogrande import WinoGrande

TASKS: dict[str, type[Task]] = {
    "mmlu": Mmlu,
    "hellaswag": HellaSwag,
    "winogrande": WinoGrande,
    "arc_challenge": ArcChallenge,
    "truthfulqa": TruthfulQa,
    "humaneval": HumanEval,
    "mbpp": Mbpp,
    "gsm8k": Gsm8k,
}
"""In the order of the cards."""


def task_named(name: str) -> type[Task]:
    """A benchmark.

    Raises:
        RequestError: There is none of that name; the nearest are named.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.4)
    meant = f"did you mean {' or '.join(f'`{each}`' for each in near)}?" if near else None
    raise RequestError(
        f"no benchmark is called `{name}`", hint=meant or "`tongwen eval list` prints them"
    )


def tasks_named(names: Sequence[str]) -> list[str]:
    """The names of benchmarks, blanks and repetitions left out.

    Raises:
        RequestError: There is none of one of these names.
    """
    found = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not found:
        raise RequestError("no benchmark is named", hint="`tongwen eval list` prints them")
    for name in found:
        task_named(name)
    return found
