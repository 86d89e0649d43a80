"""The contenders of `cpu_peers.py`: what is installed, how each is asked, what it may have.

Whoever keeps a model in memory is a process of its own that is asked again and again
(`workers/`); llama.cpp's programs are started anew for each measurement.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from workers.talk import CROWD, CROWD_OUTPUT, CROWD_PROMPT, DECODE, PREFILL

from tongwen.checkpoint.load import open_checkpoint
from tongwen.checkpoint.save import save_checkpoint

WORKERS = Path(__file__).parent / "workers"
LLAMA, LLAMA_AVX2 = "TONGWEN_LLAMA_CPP", "TONGWEN_LLAMA_CPP_AVX2"
"""Environment variables that name directories of llama.cpp's programs."""

PYTHONS = {
    "openvino": "TONGWEN_OPENVINO_PYTHON",
    "vllm": "TONGWEN_VLLM_PYTHON",
    "transformers": "TONGWEN_TRANSFORMERS_PYTHON",
}
"""Environment variables that name the Python of each other contender's environment."""


@dataclass(frozen=True, slots=True)
class Peers:
    """What is installed here; `None`: nothing is."""

    llama: Path | None
    llama_avx2: Path | None
    pythons: dict[str, Path]

    @classmethod
    def from_environment(cls) -> "Peers":
        """Whatever the environment names."""
        named = {name: os.environ.get(variable) for name, variable in PYTHONS.items()}
        return cls(
            _path(os.environ.get(LLAMA)),
            _path(os.environ.get(LLAMA_AVX2)),
            {name: Path(value) for name, value in named.items() if value},
        )


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


class PeerError(Exception):
    """A contender cannot run here; the message says why in a line."""


# ---- processes that stay


class Worker:
    """A contender that keeps its model in memory and is asked by lines.

    Args:
        python: The interpreter of its environment.
        script: Its file in `workers/`.
        arguments: What the script takes.
        environ: Set for it besides.

    Raises:
        PeerError: It does not start; with the last line that it wrote.
    """

    def __init__(
        self,
        python: Path | str,
        script: str,
        arguments: Sequence[str],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self._last = script, ""
        self._process = subprocess.Popen(
            [str(python), str(WORKERS / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environ or {})},
        )
        threading.Thread(target=self._drain, daemon=True).start()
        self.works: list[str] = self._answer()

    def _drain(self) -> None:
        """Keep the last line of what the process says, so that it never waits for a reader."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last = line.strip() or self._last

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise PeerError(f"{self.name} ended with {self._process.returncode}: {self._last}")
        return json.loads(line)

    def ask(self, work: str) -> Any:
        """What a work gave."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{work}\n")
        self._process.stdin.flush()
        return self._answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def tongwen(model: Path, weights: str, **environ: str) -> Worker:
    """Ours."""
    return Worker(sys.executable, "ours.py", [str(model), weights, "8192"], environ)


def other(peers: Peers, name: str, script: str, model: Path, stack: ExitStack) -> Worker:
    """One of those that are Python.

    Raises:
        PeerError: It is not installed, or does not start.
    """
    if name not in peers.pythons:
        raise PeerError(f"{name} is not installed ({PYTHONS[name]})")
    return stack.enter_context(Worker(peers.pythons[name], script, [str(model)]))


# ---- llama.cpp


def llama_bench(programs: Path, model: Path, works: Sequence[str]) -> dict[str, float]:
    """`decode` and `prefill` by llama-bench, which warms itself up."""
    sizes = {"decode": ["-n", str(DECODE), "-p", "0"], "prefill": ["-p", str(PREFILL), "-n", "0"]}
    found = {}
    for work in works:
        command = ["llama-bench", "-m", str(model), "-t", str(os.cpu_count()), "-r", "1"]
        [row] = json.loads(output(programs, [*command, "-o", "json", *sizes[work]]))
        found[work] = row["avg_ts"]
    return found


def llama_crowd(programs: Path, model: Path) -> float:
    """Output tokens per second of all requests at once, by llama-batched-bench."""
    command = ["llama-batched-bench", "-m", str(model), "-t", str(os.cpu_count()), "-c", "8192"]
    sizes = ["-npp", str(CROWD_PROMPT), "-ntg", str(CROWD_OUTPUT), "-npl", str(CROWD)]
    lines = output(programs, [*command, *sizes, "--output-format", "jsonl"]).splitlines()
    [row] = [json.loads(line) for line in lines if line.startswith("{")]
    return CROWD * CROWD_OUTPUT / row["t"]


def output(programs: Path, command: Sequence[str]) -> str:
    """What a program prints."""
    name, *rest = command
    done = subprocess.run([programs / name, *rest], capture_output=True, text=True, check=True)
    return done.stdout


# ---- files for those who need others


def requantized(programs: Path, model: Path, format: str, scratch: Path, *options: str) -> Path:
    """`model` stored in another format by llama-quantize, made once."""
    made = scratch / f"{model.stem}-{format}{''.join(options).replace(' ', '')}.gguf"
    if not made.exists():
        words = [word for option in options for word in option.split()]
        output(
            programs,
            ["llama-quantize", "--allow-requantize", *words, str(model), str(made), format],
        )
    return made


def in_bf16(model: Path, scratch: Path) -> Path:
    """`model` as a directory in bfloat16 that transformers and vllm load, made once."""
    made = scratch / f"{model.stem}-bf16"
    if not made.exists():
        source = open_checkpoint(model)
        save_checkpoint(
            made,
            config=source.config,
            tensors=((name, source.tensor(name, torch.bfloat16)) for name in source.names()),
            generation=source.generation,
            tokenizer=source.tokenizer(),
        )
    return made


# ---- what a process takes


def peak_bytes(command: Sequence[str]) -> int:
    """The most memory that was ever resident in a process, files it maps included.

    `VmHWM` begins anew with exec; `ru_maxrss` would show what the parent had.

    Raises:
        PeerError: The process failed.
    """
    most = 0
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            most = max(most, _resident(process.pid))
            time.sleep(0.01)
    if process.returncode:
        raise PeerError(f"`{command[0]}` ended with status {process.returncode}")
    return most


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0
