"""Whether the preset `harness` finds what lm-evaluation-harness finds, sample by sample.

    python benchmarks/harness_parity.py --questions 300 --out benchmarks/results

The same seeded questions of each benchmark are asked twice: by lm-evaluation-harness with its own
task files over `tongwen serve`, and by our tasks in this process.  Compared are prompts, what is
weighed or was written, log-likelihoods, the chosen answers and the scores.  Exit 1 where anything
differs.  It takes long: the harness has every token of every prompt computed.
"""

import argparse
import asyncio
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import MODEL, ROOT, surroundings
from harness_files import MAKE, Compared, Files
from serve_http import server

from tongwen.client.client import together
from tongwen.client.local import LocalClient
from tongwen.engine.llm import LLM
from tongwen.evals.ask import ask
from tongwen.evals.question import Rank
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import Setup
from tongwen.judge.benchmarks import Benchmarks

QUESTION = "Does the preset `harness` find what lm-evaluation-harness finds over our server?"
SEED = 20240607
DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Found:
    """One question on one side."""

    prompts: list[list[str]]
    """Contexts, with what is weighed after each."""

    logprobs: list[float]
    """Of what is weighed; empty where something is written."""

    text: str | None
    """What was written."""

    scores: dict[str, float]
    """By the harness's name of the metric."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far both sides agree on one benchmark."""

    questions: int
    equal_prompts: int
    equal_answers: int
    """Chosen or written."""

    equal_scores: int
    largest_difference: float
    """Of the log-likelihoods; 0 where all are the same float."""

    ours: float
    theirs: float
    """Means of the score."""

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        same = (self.equal_prompts, self.equal_answers, self.equal_scores)
        return set(same) == {self.questions} and self.largest_difference == 0


# ---- ours


async def ours(client: LocalClient, compared: Compared, directory: Path) -> list[Found]:
    """What our task finds, in the order of the file."""
    data = Benchmarks(directory)
    task = compared.task(Setup(data=data, preset="harness", is_chat=False, shots=compared.shots))

    async def one(sample: Sample) -> Found:
        question = task.question(sample)
        asked = await ask(client, question)
        grade = await task.grade(sample, asked.answers[0])
        if isinstance(question, Rank):
            logprobs = [each.logprob for each in asked.answers[0].likelihoods]
            return Found([list(pair) for pair in question.pairs], logprobs, None, _named(grade))
        return Found([[asked.prompt, ""]], [], asked.answers[0].text, _named(grade))

    return await together(one, task.samples())


def _named(grade: Grade) -> dict[str, float]:
    """The scores of a grade; the one of the card as `score`."""
    return {"score": grade.score, **grade.metrics}


# ---- theirs


def lm_eval(files: Files, compared: Sequence[Compared], model: str, url: str) -> Path:
    """Run lm-evaluation-harness over a server; where it wrote down every sample.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    out, names = files.theirs / "out", [name for each in compared for name in each.theirs]
    args = f"model={model},base_url={url}/v1/completions,num_concurrent=4,max_length=8192"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"]
    command += ["--model_args", args, "--tasks", ",".join(names), "--log_samples"]
    command += ["--include_path", str(files.theirs), "--output_path", str(out)]
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "hf"), "OMP_NUM_THREADS": "1"}
    with (files.theirs / "log.txt").open("w") as log:
        subprocess.run(
            command, env={**os.environ, **quiet}, stdout=log, stderr=log, text=True, check=True
        )
    return out


def theirs(out: Path, compared: Compared) -> list[Found]:
    """What the harness wrote down, task after task, in the order of their files."""
    return [found for name in compared.theirs for found in _of_task(out, name)]


def _of_task(out: Path, name: str) -> list[Found]:
    path = next(out.rglob(f"samples_{name}_2*.jsonl"))
    by_place: dict[int, dict[str, Mapping[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            by_place.setdefault(row["doc_id"], {})[row["filter"]] = row
    return [_found(by_place[place]) for place in sorted(by_place)]


def _found(by_filter: Mapping[str, Mapping[str, Any]]) -> Found:
    row = next(iter(by_filter.values()))
    asked = [list(each.values()) for each in row["arguments"].values()]
    if "strict-match" in by_filter:
        scores = {"score": float(by_filter["strict-match"]["exact_match"])}
        scores["flexible-extract"] = float(by_filter["flexible-extract"]["exact_match"])
        return Found([[asked[0][0], ""]], [], row["resps"][0][0], scores)
    scores = {name: float(row[name]) for name in ("acc", "acc_norm") if name in row}
    logprobs = [float(logprob) for logprob, _ in row["filtered_resps"]]
    return Found(asked, logprobs, None, scores)


# ---- both


def verdict(mine: Sequence[Found], other: Sequence[Found]) -> Verdict:
    """How far they agree.

    Raises:
        ValueError: They hold different numbers of questions.
    """
    pairs = list(zip(mine, other, strict=True))
    differences = [
        abs(x - y) for a, b in pairs for x, y in zip(a.logprobs, b.logprobs, strict=True)
    ]
    return Verdict(
        questions=len(pairs),
        equal_prompts=sum(a.prompts == b.prompts for a, b in pairs),
        equal_answers=sum(_answer(a) == _answer(b) for a, b in pairs),
        equal_scores=sum(_agree(a.scores, b.scores) for a, b in pairs),
        largest_difference=max(differences, default=0.0),
        ours=_mean([a.scores["score"] for a in mine]),
        theirs=_mean([_score(b.scores) for b in other]),
    )


def _answer(found: Found) -> tuple[int, ...] | str:
    """What is chosen by sum and per character, or what is written."""
    if found.text is not None:
        return found.text
    texts = [pair[1].lstrip() for pair in found.prompts]
    each = [one / len(text) for one, text in zip(found.logprobs, texts, strict=True)]
    return tuple(max(range(len(some)), key=some.__getitem__) for some in (found.logprobs, each))


def _score(scores: Mapping[str, float]) -> float:
    """The figure of the card, of the harness's metrics."""
    return next(scores[name] for name in ("score", "acc_norm", "acc") if name in scores)


def _agree(mine: Mapping[str, float], other: Mapping[str, float]) -> bool:
    shared = set(mine) & set(other)
    return _score(mine) == _score(other) and all(mine[name] == other[name] for name in shared)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing."""

    verdicts: dict[str, Verdict]
    """By benchmark."""

    theirs_s: float
    """How long the harness took, its start included."""

    ours_s: float


def compare(
    files: Files, compared: Sequence[Compared], llm: LLM, url: str, model: str
) -> Comparison:
    """The verdict on each benchmark.

    Args:
        files: Where everything lies.
        compared: The benchmarks.
        llm: Our model.
        url: A server of the same model.
        model: What it is called there.
    """
    started = time.perf_counter()
    out = lm_eval(files, compared, model, url)
    between = time.perf_counter()

    async def verdicts() -> dict[str, Verdict]:
        client = LocalClient(llm)
        try:
            return {
                each.name: verdict(await ours(client, each, files.ours), theirs(out, each))
                for each in compared
            }
        finally:
            await client.close()

    found = asyncio.run(verdicts())
    return Comparison(found, between - started, time.perf_counter() - between)


def main() -> None:
    """Compare, print a line for each benchmark, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="the benchmarks' files")
    parser.add_argument("--questions", type=int, default=300, help="of each benchmark")
    parser.add_argument("--seed", type=int, default=SEED, help="draws the questions")
    parser.add_argument("--tasks", nargs="+", choices=MAKE, default=list(MAKE))
    parser.add_argument("--shots", type=int, help="solved rows; otherwise as published")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, help="directory of the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, server(options.model, "auto", 8192) as url:
        files = files_in(Path(place), options.data, options.questions, options.seed)
        made = [made_of(files, name, options.shots) for name in options.tasks]
        llm = LLM(options.model, context=8192)
        comparison = compare(files, made, llm, url, options.model)
    lines = [json.dumps(line, ensure_ascii=False) for line in _lines(options, made, comparison)]
    print(*lines, sep="\n", flush=True)
    if options.out is not None:
        path = options.out / f"harness_parity_{datetime.now(UTC):%Y-%m-%d}.jsonl"
        with path.open("a", encoding="utf-8") as file:  # what other runs of the day found stays
            file.writelines(f"{line}\n" for line in lines)
    sys.exit(not all(each.is_equal for each in comparison.verdicts.values()))


def files_in(place: Path, data: Path, questions: int, seed: int) -> Files:
    """Directories for both sides below `place`."""
    for side in ("ours", "theirs"):
        (place / side).mkdir()
    return Files(Benchmarks(data), place / "ours", place / "theirs", questions, seed)


def made_of(files: Files, name: str, shots: int | None = None) -> Compared:
    """The files of one benchmark, with its published number of solved rows or another."""
    make, published = MAKE[name]
    return make(files, published if shots is None else shots)


def _lines(
    options: argparse.Namespace, made: Sequence[Compared], comparison: Comparison
) -> list[dict[str, Any]]:
    """What was found of each benchmark, and how."""
    around = surroundings()
    around["versions"]["lm_eval"] = importlib.metadata.version("lm_eval")
    return [
        {
            "benchmark": "harness_parity",
            "question": QUESTION,
            "task": each.name,
            "shots": each.shots,
            "result": asdict(comparison.verdicts[each.name]),
            "seconds": {
                "of": [one.name for one in made],
                "lm_eval": comparison.theirs_s,
                "ours": comparison.ours_s,
            },
            "settings": {"model": options.model, "seed": options.seed},
            **around,
        }
        for each in made
    ]


if __name__ == "__main__":
    main()
