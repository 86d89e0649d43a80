"""How fast MMLU (5 shots, likelihoods) is beside lm-evaluation-harness over transformers.

    python benchmarks/eval_mmlu.py --questions 500 [--out benchmarks/results]

The same seeded questions in the same prompts, in slices; within each, both take turns.  Ours: the
task of `tongwen eval` in this process, from the text to the grade.  Theirs: `loglikelihood` of the
hf backend on the same weights in bfloat16 (`--their-dtype`), by `--their-batch` prompts at once;
its start, its reading of tasks and its prompts' making do not count.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from harness import MODEL, Rounds, Values, parser, print_line, probe
from harness_files import MAKE
from harness_parity import DATA, SEED, files_in, made_of
from peers import in_bf16

from tongwen.checkpoint.store import Store, default_home
from tongwen.client.client import together
from tongwen.client.local import LocalClient
from tongwen.engine.llm import LLM, locate
from tongwen.evals.ask import ask
from tongwen.evals.sample import Sample
from tongwen.evals.task import Setup, Task
from tongwen.evals.tasks.mmlu import Mmlu
from tongwen.judge.benchmarks import Benchmarks

OURS, THEIRS = "tongwen", "lm-eval hf"
QUESTION = "MMLU by likelihood beside lm-evaluation-harness over transformers"
UNITS = {"questions_per_s": "questions/s"}


class Ours:
    """Our task on our engine, slice by slice.

    Args:
        llm: The model.
        task: MMLU over the chosen questions.
    """

    def __init__(self, llm: LLM, task: Task) -> None:
        self._llm, self._task, self.samples = llm, task, task.samples()
        self.seconds, self.scores = 0.0, list[float]()

    def run(self, begin: int, end: int) -> float:
        """Seconds that a slice takes."""
        started = time.perf_counter()
        self.scores += asyncio.run(self._scores(self.samples[begin:end]))
        taken = time.perf_counter() - started
        self.seconds += taken
        return taken

    async def _scores(self, samples: Sequence[Sample]) -> list[float]:
        client = LocalClient(self._llm)

        async def one(sample: Sample) -> float:
            asked = await ask(client, self._task.question(sample))
            return (await self._task.grade(sample, asked.answers[0])).score

        try:
            return await together(one, samples)
        finally:
            await client.close()


class Theirs:
    """The harness's requests on its hf backend, slice by slice.

    Args:
        directory: A checkpoint in bfloat16.
        tasks: The harness's task files.
        names: Which of them.
        dtype: In which the model computes.
        batch: Prompts at once.
    """

    def __init__(
        self, directory: Path, tasks: Path, names: Sequence[str], dtype: str, batch: int
    ) -> None:
        from lm_eval.models.huggingface import HFLM

        self._model = HFLM(
            pretrained=str(directory), device="cpu", dtype=dtype, batch_size=batch, max_length=8192
        )
        self._questions = list(_questions(tasks, names))
        self.seconds, self.scores = 0.0, list[float]()

    def run(self, begin: int, end: int) -> float:
        """Seconds that a slice takes."""
        slices = self._questions[begin:end]
        requests = [request for question in slices for request in question]
        started = time.perf_counter()
        found = iter(self._model.loglikelihood(requests, disable_tqdm=True))
        taken = time.perf_counter() - started
        for question in slices:
            logprobs = [next(found)[0] for _ in question]
            self.scores.append(float(logprobs.index(max(logprobs)) == question[0].doc["answer"]))
        self.seconds += taken
        return taken


def _questions(tasks: Path, names: Sequence[str]) -> Any:
    """The requests of each question, task after task."""
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_path=str(tasks), include_defaults=False).load(list(names))
    for name in names:
        task = loaded["tasks"][name]
        task.set_fewshot_seed(1234)
        task.build_all_requests(rank=0, world_size=1)
        by_question: dict[int, list[Any]] = {}
        for request in task.instances:
            by_question.setdefault(request.doc_id, []).append(request)
        yield from (by_question[place] for place in sorted(by_question))


def in_turns(ours: Ours, theirs: Theirs, size: int) -> Rounds:
    """All slices; who is first changes from one to the next."""
    rounds, count = Rounds(), len(ours.samples)
    for number, begin in enumerate(range(0, count, size)):
        end = min(begin + size, count)
        runs: dict[str, Callable[[int, int], float]] = {OURS: ours.run, THEIRS: theirs.run}
        before, values = probe(), dict[str, Values]()
        for name in (OURS, THEIRS) if number % 2 == 0 else (THEIRS, OURS):
            values[name] = {"questions_per_s": (end - begin) / runs[name](begin, end)}
        rounds.values.append(values)
        rounds.probes.append(before.at_worst(probe()))
    return rounds


def options() -> argparse.Namespace:
    """What the user wants."""
    made = parser(__doc__ or "")
    made.add_argument("--data", type=Path, default=DATA, help="the benchmarks' files")
    made.add_argument("--questions", type=int, default=500)
    made.add_argument("--slice", type=int, default=100, help="questions in one turn")
    made.add_argument("--model", default=MODEL)
    made.add_argument("--their-dtype", default="bfloat16")
    made.add_argument("--their-batch", type=int, default=8)
    made.add_argument("--scratch", type=Path, help="directory that keeps their checkpoint")
    made.add_argument("--out", type=Path, help="directory of the result")
    return made.parse_args()


def main() -> None:
    """Measure and print a line."""
    wanted = options()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as place:
        scratch = wanted.scratch or Path(place)
        os.environ["HF_DATASETS_CACHE"] = str(Path(place) / "datasets")
        files = files_in(Path(place), wanted.data, wanted.questions, SEED)
        compared = made_of(files, "mmlu")
        path = locate(wanted.model, Store(default_home(os.environ)))
        theirs = Theirs(
            in_bf16(path, scratch),
            files.theirs,
            compared.theirs,
            wanted.their_dtype,
            wanted.their_batch,
        )
        setup = Setup(data=Benchmarks(files.ours), preset="harness", is_chat=False)
        ours = Ours(LLM(wanted.model, context=8192), Mmlu(setup))
        rounds = in_turns(ours, theirs, wanted.slice)
    lines = print_line(
        "eval_mmlu",
        QUESTION,
        rounds,
        units=UNITS,
        contenders=(OURS, THEIRS),
        compare=(OURS, THEIRS),
        questions=len(ours.samples),
        shots=MAKE["mmlu"][1],
        their_dtype=wanted.their_dtype,
        their_batch=wanted.their_batch,
        threads=torch.get_num_threads(),
        seconds={OURS: round(ours.seconds, 1), THEIRS: round(theirs.seconds, 1)},
        accuracy={OURS: fmean(ours.scores), THEIRS: fmean(theirs.scores)},
        equal=fmean(a == b for a, b in zip(ours.scores, theirs.scores, strict=True)),
        times_as_fast=round(theirs.seconds / ours.seconds, 2),
    )
    if wanted.out is not None:
        name = f"eval_mmlu_{datetime.now(UTC):%Y-%m-%d}.jsonl"
        said = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (wanted.out / name).write_text(said, encoding="utf-8")


if __name__ == "__main__":
    main()
