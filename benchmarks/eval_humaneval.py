"""HumanEval end to end, ours beside transformers' batched generate.

    python benchmarks/eval_humaneval.py --data DIR --out benchmarks/results

Both answer the same 164 prompts (preset `qwen2.5-coder`, greedy, 768 tokens, the same stop strings)
with the same weights, the file as it is here and in bfloat16 there, and the same sandbox grades
what they wrote.  The time of a side is that from a loaded model to the last verdict.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from harness import MODEL, significant, surroundings
from peers import in_bf16

from tongwen import LLM
from tongwen.client.local import LocalClient
from tongwen.evals.examine import Progress, examine
from tongwen.evals.journal import Journal
from tongwen.evals.question import Answer, Generate
from tongwen.evals.sample import Sample
from tongwen.evals.task import Setup
from tongwen.evals.tasks.humaneval import HumanEval
from tongwen.judge.benchmarks import Benchmarks
from tongwen.judge.sandbox import Sandbox

WORKER = Path(__file__).parent / "workers" / "transformers_humaneval.py"


async def graded(task: HumanEval, samples: list[Sample], texts: list[str]) -> int:
    """How many completions pass."""
    pairs = zip(samples, texts, strict=True)
    grades = await asyncio.gather(*(task.grade(one, Answer(turns=(text,))) for one, text in pairs))
    return sum(grade.score == 1 for grade in grades)


def ours(llm: LLM, task: HumanEval, samples: list[Sample]) -> tuple[float, int]:
    """Seconds, and how many pass; nothing of an earlier run is reused."""

    async def run(folder: Path) -> int:
        client = LocalClient(llm)
        try:
            with Journal(folder / "journal", "benchmark") as journal:
                records = await examine(
                    task,
                    client,
                    samples,
                    journal,
                    progress=Progress("humaneval", len(samples)),
                    concurrency=64,
                    tell=lambda _: None,
                )
        finally:
            await client.close()
        return sum(record.grades[0].score == 1 for record in records)

    llm.engine.scheduler.pool.forget()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        passed = asyncio.run(run(Path(folder)))
    return time.perf_counter() - started, passed


def theirs(
    python: str, model: Path, batch: int, prompts: list[list[int]], question: Generate
) -> tuple[float, list[str]]:
    """Seconds of their completions, and these."""
    command = [python, str(WORKER), str(model), str(batch)]
    params = question.params
    asked = {"prompts": prompts, "stop": list(params.stop_strings), "max_tokens": params.max_tokens}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        if not worker.stdout.readline():
            sys.exit(f"transformers did not start: {' '.join(command)}")
        started = time.perf_counter()
        worker.stdin.write(json.dumps(asked) + "\n")
        worker.stdin.flush()
        texts = json.loads(worker.stdout.readline())
        return time.perf_counter() - started, texts


def main() -> None:
    """Measure and write."""
    options = _options()
    with Sandbox() as sandbox:
        task = HumanEval(
            Setup(
                data=Benchmarks(options.data),
                preset="qwen2.5-coder",
                is_chat=True,
                sandbox=sandbox,
            )
        )
        samples = task.samples()[: options.limit]
        llm = LLM(MODEL)
        questions = [task.question(sample) for sample in samples]
        prompts = [llm.render(question.prompt) for question in questions]
        model = in_bf16(llm.source.path, options.scratch)
        rounds = []
        for _ in range(options.rounds):
            mine_s, passed = ours(llm, task, samples)
            their_s, texts = theirs(options.python, model, options.batch, prompts, questions[0])
            started = time.perf_counter()
            their_passed = asyncio.run(graded(task, samples, texts))
            their_s += time.perf_counter() - started
            rounds.append(
                {
                    "ours": {"seconds": significant(mine_s), "passed": passed},
                    "transformers": {"seconds": significant(their_s), "passed": their_passed},
                    "ratio": significant(their_s / mine_s),
                }
            )
            print(json.dumps(rounds[-1]), flush=True)
    line = {
        "benchmark": "eval_humaneval",
        "question": "HumanEval end to end beside transformers' batched generate",
        "rounds": rounds,
        "settings": {"model": MODEL, "batch": options.batch, "samples": len(samples)},
        "numerics": llm.numerics,
        **surroundings(),
    }
    day = datetime.now(UTC).date().isoformat()
    path = options.out / f"eval_humaneval_{options.machine}_{day}.json"
    path.write_text(json.dumps(line, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    made.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    made.add_argument("--machine", default="here")
    made.add_argument("--batch", type=int, default=32)
    made.add_argument("--rounds", type=int, default=1)
    made.add_argument("--limit", type=int)
    made.add_argument(
        "--python", default=os.environ.get("TONGWEN_TRANSFORMERS_PYTHON", sys.executable)
    )
    return made.parse_args()


if __name__ == "__main__":
    main()
