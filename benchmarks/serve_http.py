"""Tokens a second of 32 concurrent streams over HTTP, beside the engine's own.

    python benchmarks/serve_http.py

The same load (32 requests of 128 + 64 tokens, all at once, each with a prompt of its own) is served
by the engine in this process, and by `tongwen serve` in another, asked by the light client of
`tongwen bench serve --endpoint`.  They take turns; who does not serve is idle.
"""

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from harness import MODEL, Values, alternate, parser, print_line

from tongwen import LLM
from tongwen.checkpoint.store import default_home
from tongwen.client.load import Target, find_target, offer
from tongwen.engine.bench import serve
from tongwen.engine.traffic import Goals, Load, Run, latencies
from tongwen.server.running import running_servers

UNITS = {"tokens_per_s": "tokens/s", "ttft_p50": "ms", "tpot_p50": "ms"}
_PATIENCE_S = 120.0


@contextlib.contextmanager
def server(model: str, weights: str, context: int) -> Iterator[str]:
    """`tongwen serve` on a free port; its address."""
    command = [sys.executable, "-m", "tongwen", "serve", model, "--port", "0"]
    command += ["--weights", weights, "--context", str(context), "--generation-config", "none"]
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield address(started)
    finally:
        started.terminate()
        started.wait()


def address(started: "subprocess.Popen[bytes]") -> str:
    """Where a server listens, as soon as it does."""
    deadline = time.monotonic() + _PATIENCE_S
    while started.poll() is None and time.monotonic() < deadline:
        for running in running_servers(default_home(os.environ)):
            if running.pid == started.pid:
                return running.url
        time.sleep(0.1)
    sys.exit("the server did not start; `tongwen serve` says why")


def values(run: Run) -> Values:
    """The figures of a run; one that lost a request is none."""
    if run.failures:
        sys.exit(f"a request failed: {run.failures[0]}")
    waits = latencies([run], Goals())
    return {
        "tokens_per_s": run.tokens_per_s,
        "ttft_p50": waits.ttft_p50_ms,
        "tpot_p50": waits.tpot_p50_ms or 0.0,
    }


class Asker:
    """Offers runs to a server, and counts its own work.

    Args:
        target: The server.
        load: What is offered.
    """

    def __init__(self, target: Target, load: Load) -> None:
        self._target, self._load = target, load
        self.shares: list[float] = []
        """Of a core, in each run."""

    def __call__(self, number: int) -> Values:
        """One run."""
        busy_s, began_s = time.process_time(), time.perf_counter()
        run = asyncio.run(offer(self._target, self._load, number))
        self.shares.append((time.process_time() - busy_s) / (time.perf_counter() - began_s))
        return values(run)


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "", repeats=7)
    made.add_argument("--model", default=MODEL)
    made.add_argument("--weights", default="auto")
    made.add_argument("--requests", type=int, default=32)
    asked = made.parse_args()
    load, numbers = Load(requests=asked.requests), itertools.count()
    llm = LLM(asked.model, weights=asked.weights, context=load.cache_tokens)
    with server(asked.model, asked.weights, load.cache_tokens) as url:
        target = asyncio.run(find_target(url, None, None))
        http = Asker(target, load)
        rounds = alternate(
            {
                "http": lambda: http(next(numbers)),
                "engine": lambda: values(serve(llm, load, next(numbers))),
            },
            asked,
        )
    print_line(
        "serve_http",
        __doc__ or "",
        rounds,
        units=UNITS,
        contenders=["http", "engine"],
        compare=("http", "engine"),
        model=asked.model,
        weights=asked.weights,
        numerics=[llm.numerics, target.model.numerics],
        requests=load.requests,
        prompt_tokens=load.prompt_tokens,
        completion_tokens=load.completion_tokens,
        client_share=round(median(http.shares[asked.warmups :]), 3),
    )


if __name__ == "__main__":
    main()
