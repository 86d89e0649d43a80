"""Benchmarks as files for both: for our tasks, and for lm-evaluation-harness in the hub's format.

Its own task files are included as they are; only where their data lie is replaced, and how many
solved rows are shown (which is its option `--num_fewshot`).
"""

import importlib.util
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongwen.evals.pools import APART, apart, by_group
from tongwen.evals.task import Task
from tongwen.evals.tasks.arc_challenge import ArcChallenge
from tongwen.evals.tasks.gsm8k import Gsm8k
from tongwen.evals.tasks.hellaswag import HellaSwag
from tongwen.evals.tasks.mmlu import Mmlu
from tongwen.evals.tasks.winogrande import WinoGrande
from tongwen.judge.benchmarks import Benchmarks

Row = Mapping[str, Any]
Splits = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Compared:
    """One benchmark on both sides."""

    name: str
    task: type[Task]
    """Ours."""

    shots: int
    """Solved rows before each question."""

    theirs: list[str] = field(default_factory=list)
    """Tasks of the harness that ask the same; several where it takes each subject for one."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where everything lies for one comparison.

    Attributes:
        source: The benchmarks' files.
        ours: Directory for our tasks.
        theirs: Directory of the harness's task files.
        questions: How many of each benchmark.
        seed: Which.
    """

    source: Benchmarks
    ours: Path
    theirs: Path
    questions: int
    seed: int

    def chosen(self, rows: Sequence[Row]) -> list[Row]:
        """As many as wanted, in the order of the file."""
        places = random.Random(self.seed).sample(range(len(rows)), min(self.questions, len(rows)))
        return [rows[place] for place in sorted(places)]

    def for_us(self, name: str, rows: Sequence[Row]) -> None:
        """Write a file of ours."""
        _write(self.ours / f"{name}.jsonl", rows)

    def for_them(self, original: str, splits: Splits, shots: int) -> str:
        """Write one of the harness's tasks; returns the name that it has here.

        Args:
            original: Its own file, below `lm_eval/tasks`.
            splits: Rows of each split, as the hub has them.
            shots: Solved rows before each question.
        """
        name = "same_" + Path(original).stem
        for split, rows in splits.items():
            _write(self.theirs / name / f"{split}.jsonl", rows)
        told = {
            "include": str(_tasks() / original),
            "task": name,
            "tag": None,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {
                "data_files": {s: str(self.theirs / name / f"{s}.jsonl") for s in splits}
            },
            "num_fewshot": shots,
        }
        (self.theirs / f"{name}.yaml").write_text(json.dumps(told), encoding="utf-8")  # is YAML
        return name


def mmlu(files: Files, shots: int) -> Compared:
    """57 tasks of the harness, of which those with a chosen question."""
    solved = by_group(files.source.rows("mmlu/dev"), lambda row: row["subject"])
    rows = files.chosen(files.source.rows("mmlu/test"))
    files.for_us("mmlu/test", rows)
    files.for_us("mmlu/dev", [row for group in solved.values() for row in group])
    names = [
        files.for_them(
            f"mmlu/default/mmlu_{subject}.yaml",
            {"test": list(map(_mmlu, group)), "dev": list(map(_mmlu, solved[subject]))},
            shots,
        )
        for subject, group in by_group(rows, lambda row: row["subject"]).items()
    ]
    return Compared("mmlu", Mmlu, shots, names)


def arc_challenge(files: Files, shots: int) -> Compared:
    """Draws from the training part."""
    rows = files.chosen(files.source.rows("arc_challenge/test"))
    solved = files.source.rows("arc_challenge/train")
    files.for_us("arc_challenge/test", rows)
    files.for_us("arc_challenge/train", solved)
    splits = {"test": rows, "train": solved, "validation": solved[:1]}
    told = {split: list(map(_arc, each)) for split, each in splits.items()}
    name = files.for_them("arc/arc_challenge.yaml", told, shots)
    return Compared("arc_challenge", ArcChallenge, shots, [name])


def hellaswag(files: Files, shots: int) -> Compared:
    """Draws from the rows that were set apart."""
    pool, rest = apart(files.source.rows("hellaswag/val", "hellaswag/val_sample1000"), APART)
    rows = files.chosen(rest)
    files.for_us("hellaswag/val", rows)
    files.for_us("hellaswag/train", pool)
    splits = {"train": list(map(_hellaswag, pool)), "validation": list(map(_hellaswag, rows))}
    return Compared(
        "hellaswag", HellaSwag, shots, [files.for_them("hellaswag/hellaswag.yaml", splits, shots)]
    )


def winogrande(files: Files, shots: int) -> Compared:
    """Draws from the rows that were set apart."""
    pool, rest = apart(files.source.rows("winogrande/dev"), APART)
    rows = files.chosen(rest)
    files.for_us("winogrande/dev", rows)
    files.for_us("winogrande/train", pool)
    splits = {"train": list(map(_winogrande, pool)), "validation": list(map(_winogrande, rows))}
    return Compared(
        "winogrande", WinoGrande, shots, [files.for_them("winogrande/default.yaml", splits, shots)]
    )


def gsm8k(files: Files, shots: int) -> Compared:
    """Written answers; draws from the training part."""
    rows = files.chosen(files.source.rows("gsm8k/test", "gsm8k/test_rows_0-699"))
    solved = files.source.rows("gsm8k/train", "gsm8k/train_sample500")
    files.for_us("gsm8k/test", rows)
    files.for_us("gsm8k/train", solved)
    name = files.for_them("gsm8k/gsm8k.yaml", {"test": rows, "train": solved}, shots)
    return Compared("gsm8k", Gsm8k, shots, [name])


MAKE: dict[str, tuple[Callable[[Files, int], Compared], int]] = {
    "mmlu": (mmlu, 5),
    "arc_challenge": (arc_challenge, 25),
    "hellaswag": (hellaswag, 10),
    "winogrande": (winogrande, 5),
    "gsm8k": (gsm8k, 5),
}
"""Each benchmark with its number of solved rows."""


def _mmlu(row: Row) -> Row:
    choices = [row[f"choice{place}"] for place in range(4)]
    return {key: row[key] for key in ("question", "subject", "answer")} | {"choices": choices}


def _arc(row: Row) -> Row:
    labels = [chr(ord("A") + place) for place in range(len(row["choices"]))]
    return {
        "question": row["question"],
        "choices": {"text": row["choices"], "label": labels},
        "answerKey": labels[row["gold"]],
    }


def _hellaswag(row: Row) -> Row:
    return {**row, "label": str(row["label"])}


def _winogrande(row: Row) -> Row:
    """The sentence with a gap again: what both contexts begin with, then the rest."""
    first, second = (context.split(" ") for context in row["context_options"])
    same = next(
        place for place, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]
    )
    before = "".join(f"{word} " for word in first[:same])
    return {
        "sentence": f"{before}_ {row['continuation']}",
        "option1": " ".join(first[same:]),
        "option2": " ".join(second[same:]),
        "answer": str(row["gold"] + 1),
    }


def _tasks() -> Path:
    found = importlib.util.find_spec("lm_eval")
    assert found is not None, "lm_eval is installed with the extra `dev`"
    assert found.origin is not None, "a package has a file"
    return Path(found.origin).parent / "tasks"


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
