"""The benchmarks by name."""

import difflib
import re
from collections.abc import Sequence

from tongwen.errors import RequestError
from tongwen.evals.task import Task
from tongwen.evals.tasks.alignbench import AlignBench
from tongwen.evals.tasks.arc_challenge import ArcChallenge
from tongwen.evals.tasks.arena_hard import ArenaHard
from tongwen.evals.tasks.bbh import Bbh
from tongwen.evals.tasks.belebele import Belebele
from tongwen.evals.tasks.ceval import CEval
from tongwen.evals.tasks.cmmlu import Cmmlu
from tongwen.evals.tasks.code_switching import CodeSwitching
from tongwen.evals.tasks.competition_math import CompetitionMath
from tongwen.evals.tasks.evalplus import HumanEvalPlus, MbppPlus
from tongwen.evals.tasks.flores import Flores
from tongwen.evals.tasks.gpqa import Gpqa
from tongwen.evals.tasks.gsm8k import Gsm8k
from tongwen.evals.tasks.hellaswag import HellaSwag
from tongwen.evals.tasks.humaneval import HumanEval
from tongwen.evals.tasks.ifeval import IfEval
from tongwen.evals.tasks.indommlu import IndoMmlu
from tongwen.evals.tasks.languages import Languages
from tongwen.evals.tasks.livecodebench import LiveCodeBench
from tongwen.evals.tasks.m3exam import M3Exam
from tongwen.evals.tasks.mbpp import Mbpp
from tongwen.evals.tasks.mgsm import Mgsm
from tongwen.evals.tasks.mixeval import MixEval
from tongwen.evals.tasks.mmlu import Mmlu
from tongwen.evals.tasks.mmlu_pro import MmluPro
from tongwen.evals.tasks.mmmlu import Mmmlu
from tongwen.evals.tasks.mt_bench import MtBench
from tongwen.evals.tasks.multipl_e import MultiPlE
from tongwen.evals.tasks.paws_x import PawsX
from tongwen.evals.tasks.rummlu import RuMmlu
from tongwen.evals.tasks.safety import Safety
from tongwen.evals.tasks.theoremqa import TheoremQa
from tongwen.evals.tasks.truthfulqa import TruthfulQa
from tongwen.evals.tasks.wikitext2 import WikiText2
from tongwen.evals.tasks.winogrande import WinoGrande
from tongwen.evals.tasks.xcopa import XCopa
from tongwen.evals.tasks.xstest import XsTest
from tongwen.evals.tasks.xstory_cloze import XStoryCloze
from tongwen.evals.tasks.xwinograd import XWinograd

TASKS: dict[str, type[Task]] = {
    "mmlu": Mmlu,
    "mmlu_pro": MmluPro,
    "gpqa": Gpqa,
    "theoremqa": TheoremQa,
    "bbh": Bbh,
    "hellaswag": HellaSwag,
    "winogrande": WinoGrande,
    "arc_challenge": ArcChallenge,
    "truthfulqa": TruthfulQa,
    "humaneval": HumanEval,
    "mbpp": Mbpp,
    "humaneval_plus": HumanEvalPlus,
    "mbpp_plus": MbppPlus,
    "multipl_e": MultiPlE,
    "livecodebench": LiveCodeBench,
    "gsm8k": Gsm8k,
    "math": CompetitionMath,
    "ceval": CEval,
    "cmmlu": Cmmlu,
    "m3exam": M3Exam,
    "indommlu": IndoMmlu,
    "rummlu": RuMmlu,
    "mmmlu": Mmmlu,
    "belebele": Belebele,
    "xcopa": XCopa,
    "xwinograd": XWinograd,
    "xstory_cloze": XStoryCloze,
    "paws_x": PawsX,
    "mgsm": Mgsm,
    "flores": Flores,
    "mt_bench": MtBench,
    "arena_hard": ArenaHard,
    "alignbench": AlignBench,
    "mixeval": MixEval,
    "ifeval": IfEval,
    "safety": Safety,
    "xstest": XsTest,
    "languages": Languages,
    "code_switching": CodeSwitching,
    "wikitext2": WikiText2,
}
"""In the order of the cards."""

_NO_SHARE = re.compile(
    r"perplexity|bits_per_byte|bytes_per_token|times_|tokens|length|letters|rating|kappa|^battles$|^wins$"
)
"""What the names of metrics hold that are no shares of 1, though they may be below it."""


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


def less_is_better(name: str) -> bool:
    """Whether a lower figure of a benchmark is the better; of unknown ones it is the worse."""
    return name in TASKS and TASKS[name].about.less_is_better


def is_share(task: str, metric: str = "score") -> bool:
    """Whether a figure of a benchmark is a share of 1; of unknown benchmarks the score is one."""
    if metric in ("score", "micro"):
        return task not in TASKS or TASKS[task].about.is_share
    return _NO_SHARE.search(metric) is None


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
