"""Each preset `harness` builds the requests that lm-evaluation-harness builds of the same rows.

Its own task files are used, with rows of ours in the format of the hub; no model is asked.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.evals.tasks.ranking import lay, pairs_of, task_of
from tests.evals.tasks.test_chinese import ARCHIVE, CMMLU_ROW
from tests.evals.tasks.test_lettered_languages import OKAPI, PASSAGE
from tests.evals.tasks.test_likeliest import ARC_HUB, GRANDE, SWAG
from tests.evals.tasks.test_ranked_languages import COPA, GAP, PAWS, STORY
from tests.evals.tasks.test_truthfulqa import HUB as TRUE

from tongwen.evals.task import Task
from tongwen.evals.tasks.arc_challenge import ArcChallenge
from tongwen.evals.tasks.belebele import Belebele
from tongwen.evals.tasks.ceval import CEval
from tongwen.evals.tasks.cmmlu import Cmmlu
from tongwen.evals.tasks.hellaswag import HellaSwag
from tongwen.evals.tasks.mmmlu import Mmmlu
from tongwen.evals.tasks.paws_x import PawsX
from tongwen.evals.tasks.truthfulqa import TruthfulQa
from tongwen.evals.tasks.winogrande import WinoGrande
from tongwen.evals.tasks.xcopa import XCopa
from tongwen.evals.tasks.xstory_cloze import XStoryCloze
from tongwen.evals.tasks.xwinograd import XWinograd

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
Row = Mapping[str, Any]
SHOTS = 3


def several(row: Row, field: str, count: int, salt: str) -> list[dict[str, Any]]:
    """Rows alike but for one field."""
    return [{**row, field: f"{salt} {place} {row[field]}"} for place in range(count)]


def dictated(row: Row, count: int, salt: str) -> list[dict[str, Any]]:
    """Sentences with a gap, and alternating keys."""
    return [
        {**row, "sentence": f"{salt} {place}: {row['sentence']}", "answer": str(1 + place % 2)}
        for place in range(count)
    ]


# By name: our task, the harness's file, its splits, and the names of our files by split.
Case = tuple[type[Task], str, Mapping[str, Sequence[Row]], Mapping[str, str]]
CASES: dict[str, Case] = {
    "arc_challenge": (
        ArcChallenge,
        "arc/arc_challenge.yaml",
        {s: several(ARC_HUB, "question", 8, s) for s in ("train", "validation", "test")},
        {"train": "arc_challenge/train", "test": "arc_challenge/test"},
    ),
    "hellaswag": (
        HellaSwag,
        "hellaswag/hellaswag.yaml",
        {s: several(SWAG, "ctx_a", 8, s) for s in ("train", "validation")},
        {"train": "hellaswag/train", "validation": "hellaswag/val"},
    ),
    "winogrande": (
        WinoGrande,
        "winogrande/default.yaml",
        {s: dictated(GRANDE, 8, s) for s in ("train", "validation")},
        {"train": "winogrande/train", "validation": "winogrande/dev"},
    ),
    "truthfulqa": (
        TruthfulQa,
        "truthfulqa/truthfulqa_mc1.yaml",
        {"validation": several(TRUE, "question", 4, "so")},
        {"validation": "truthfulqa/truthfulqa"},
    ),
    "ceval": (
        CEval,
        "ceval/ceval-valid_law.yaml",
        {s: several(ARCHIVE, "question", 5, s) for s in ("val", "dev")},
        {"val": "ceval/val/law_val", "dev": "ceval/dev/law_dev"},
    ),
    "cmmlu": (
        Cmmlu,
        "cmmlu/cmmlu_arts.yaml",
        {s: several(CMMLU_ROW, "Question", 5, s) for s in ("test", "dev")},
        {"test": "cmmlu/test", "dev": "cmmlu/dev"},
    ),
    "mmmlu": (
        Mmmlu,
        "okapi/mmlu_multilingual/m_mmlu_de.yaml",
        {s: several(OKAPI, "instruction", 5, s) for s in ("train", "test")},
        {"train": "mmmlu/de_train", "test": "mmmlu/de_test"},
    ),
    "belebele": (
        Belebele,
        "belebele/belebele_deu_Latn.yaml",
        {"test": several(PASSAGE, "flores_passage", 6, "so")},
        {"test": "belebele/deu_Latn"},
    ),
    "xcopa": (
        XCopa,
        "xcopa/default_it.yaml",
        {s: several(COPA, "premise", 6, s) for s in ("validation", "test")},
        {"validation": "xcopa/it_val", "test": "xcopa/it_test"},
    ),
    "xwinograd": (
        XWinograd,
        "xwinograd/xwinograd_fr.yaml",
        {"test": dictated(GAP, 9, "so")},
        {"test": "xwinograd/fr_test"},
    ),
    "xstory_cloze": (
        XStoryCloze,
        "xstorycloze/default_ar.yaml",
        {s: several(STORY, "input_sentence_2", 6, s) for s in ("train", "eval")},
        {"train": "xstory_cloze/ar_train", "eval": "xstory_cloze/ar_eval"},
    ),
    "paws_x": (
        PawsX,
        "paws-x/paws_de.yaml",
        {
            s: [{**row, "label": place % 2} for place, row in enumerate(some)]
            for s in ("train", "validation", "test")
            for some in [several(PAWS, "sentence1", 7, s)]
        },
        {"train": "paws_x/de_train", "test": "paws_x/de_test"},
    ),
}


@pytest.fixture
def harness_files(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import harness_files

    return harness_files


def requests_of(files: Any, original: str, splits: Mapping[str, Sequence[Row]]) -> list[list[Any]]:
    """What the harness would ask, question by question."""
    from lm_eval.tasks import TaskManager

    shots = 0 if "truthfulqa" in original else SHOTS
    name = files.for_them(original, splits, shots)
    manager = TaskManager(include_path=str(files.theirs), include_defaults=False)
    task = manager.load([name])["tasks"][name]
    task.set_fewshot_seed(1234)
    task.build_all_requests(rank=0, world_size=1)
    found: dict[int, list[Any]] = {}
    for request in task.instances:
        found.setdefault(request.doc_id, []).append(request.args)
    return [found[place] for place in sorted(found)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_requests_are_those_of_the_harness(
    harness_files: ModuleType,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    kind, original, splits, ours = CASES[name]
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    files = harness_files.Files(None, tmp_path / "ours", tmp_path / "theirs", 0, 0)
    for split, place in ours.items():
        lay(files.ours, place, [_kept(name, row) for row in splits[split]])
    if name == "truthfulqa":
        shared: Path = request.getfixturevalue("shared")
        prompt = (shared / "data" / "truthfulqa" / "qa_prompt.jsonl").read_text(encoding="utf-8")
        lay(files.ours, "truthfulqa/qa_prompt", [json.loads(prompt)])
    task = task_of(kind, files.ours, "harness", shots=0 if name == "truthfulqa" else SHOTS)
    theirs = requests_of(files, original, splits)
    asked = [pairs_of(task, sample)[: len(theirs[0])] for sample in task.samples()]
    assert asked == theirs
    assert len({str(each) for each in asked}) == len(asked)


def _kept(name: str, row: Row) -> Row:
    """A row as our files hold it: where they hold all subjects, with the subject."""
    return {**row, "subject": "arts"} if name == "cmmlu" else row
