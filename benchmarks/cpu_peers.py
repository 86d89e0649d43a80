"""How fast on a CPU beside llama.cpp, on the same file: decode, prefill, 32 requests at once.

    python benchmarks/cpu_peers.py --llama DIR [--model qwen2.5-coder:0.5b] [--weights file]

DIR holds `llama-bench` and `llama-batched-bench`; else the environment variable LLAMA_BIN names
it.  Each contender runs with as many threads as the machine has.  Decode is 64 tokens, prefill
512; the crowd is 32 requests of a 128-token prompt and 64 tokens each, its figure the output
tokens over all the time that prompts and completions took.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import MODEL, Values, alternate, parser, print_line

from tongwen import LLM, SamplingParams
from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.llm import locate

QUESTION = "Tokens/s on a CPU beside llama.cpp on the same file"
DECODE, PREFILL = 64, 512
CROWD, CROWD_PROMPT, CROWD_OUTPUT = 32, 128, 64
OURS, LLAMA = "tongwen", "llama.cpp"


def token_ids(count: int, seed: int) -> list[int]:
    """Ordinary ids, others for each seed."""
    return [(i * 7919 + seed * 104_729 + 11) % 100_000 for i in range(count)]


def ours(llm: LLM) -> Values:
    """The three figures through `LLM.generate`."""

    def params(max_tokens: int) -> SamplingParams:
        return SamplingParams(
            temperature=0, repetition_penalty=1.0, max_tokens=max_tokens, ignore_eos=True
        )

    [decoded] = llm.generate([token_ids(16, 0)], params(DECODE + 1))
    [read] = llm.generate([token_ids(PREFILL, 1)], params(1))
    started = time.perf_counter()
    llm.generate([token_ids(CROWD_PROMPT, 2 + i) for i in range(CROWD)], params(CROWD_OUTPUT))
    crowd_s = time.perf_counter() - started
    return {
        "decode": DECODE / decoded.decode_s,
        "prefill": PREFILL / read.ttft_s,
        "crowd": CROWD * CROWD_OUTPUT / crowd_s,
    }


def llama(programs: Path, model: Path) -> Values:
    """The same by llama-bench and llama-batched-bench."""
    threads = str(os.cpu_count())
    bench = ["llama-bench", "-m", str(model), "-t", threads, "-r", "1", "-o", "json"]
    rates = {}
    for row in json.loads(output(programs, [*bench, "-p", str(PREFILL), "-n", str(DECODE)])):
        rates["prefill" if row["n_prompt"] else "decode"] = row["avg_ts"]
    crowd = ["llama-batched-bench", "-m", str(model), "-t", threads, "-c", "8192"]
    sizes = ["-npp", str(CROWD_PROMPT), "-ntg", str(CROWD_OUTPUT), "-npl", str(CROWD)]
    lines = output(programs, [*crowd, *sizes, "--output-format", "jsonl"]).splitlines()
    [row] = [json.loads(line) for line in lines if line.startswith("{")]
    return {**rates, "crowd": CROWD * CROWD_OUTPUT / row["t"]}


def output(programs: Path, command: list[str]) -> str:
    """What a program prints."""
    name, *rest = command
    done = subprocess.run([programs / name, *rest], capture_output=True, text=True, check=True)
    return done.stdout


def options() -> argparse.Namespace:
    """The command line."""
    made = parser(QUESTION)
    made.add_argument("--model", default=MODEL)
    made.add_argument("--weights", default="file", help="how ours holds them")
    made.add_argument("--llama", type=Path, default=os.environ.get("LLAMA_BIN"))
    made.add_argument("--llama-model", type=Path, help="another file for llama.cpp")
    return made.parse_args()


def main() -> None:
    """Measure and print."""
    asked = options()
    if asked.llama is None:
        print("cpu_peers: no llama.cpp here (--llama DIR or LLAMA_BIN); skipped", file=sys.stderr)
        return
    llm = LLM(asked.model, weights=asked.weights, context=8192)
    model = asked.llama_model or locate(asked.model, Store(default_home(os.environ)))
    contenders: dict[str, Callable[[], Values]] = {
        OURS: lambda: ours(llm),
        LLAMA: lambda: llama(Path(asked.llama), model),
    }
    rounds = alternate(contenders, asked)
    print_line(
        "cpu_peers",
        QUESTION,
        rounds,
        units={"decode": "tokens/s", "prefill": "tokens/s", "crowd": "output tokens/s"},
        contenders=list(contenders),
        compare=(OURS, LLAMA),
        model=asked.model,
        weights=asked.weights,
        numerics=llm.plan.numerics,
        llama_model=model.name,
    )


if __name__ == "__main__":
    main()
