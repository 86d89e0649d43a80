"""What every benchmark here does alike: alternate, probe the machine, count, print one line.

A shared machine changes its speed under one's hands.  So contenders take turns within each round,
a probe of memory and arithmetic stands before and after it, and a round in which the machine was
much slower than at its best does not count.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from tongwen.kernels.machine import machine

ROOT = Path(__file__).resolve().parents[1]
MODEL = "qwen2.5-coder:0.5b"
PACKAGES = ("tongwen", "torch", "transformers", "tokenizers", "numpy")
SLOWEST, SLOWEST_READ = 0.7, 0.5
"""A round counts if the probes of arithmetic, and that of memory, reached this share of the best.

A virtual machine whose threads share one physical core has half of the arithmetic; what it reads
a second drifts twofold by itself."""

_PROBE_BYTES, _PROBE_SIZE, _PROBE_TRIES = 256 << 20, 1024, 3


@dataclass(frozen=True, slots=True)
class Probe:
    """What the machine could do at one moment."""

    read_gb_per_s: float
    """Reading 256 MiB that no cache holds, all of torch's threads together."""

    gflops: float
    """Multiplying two float32 matrices of 1,024 rows."""

    int8_gops: float
    """Multiplies and adds of 8-bit integers, in 10^9 a second, from registers; 0 where the native
    kernels are absent."""

    def at_worst(self, other: "Probe") -> "Probe":
        """The lower of both, number by number."""
        return Probe(*map(min, self.numbers(), other.numbers()))

    def at_best(self, other: "Probe") -> "Probe":
        """The higher of both, number by number."""
        return Probe(*map(max, self.numbers(), other.numbers()))

    def counts(self, best: "Probe") -> bool:
        """Whether the machine was itself, its best being `best`."""
        return (
            self.read_gb_per_s >= SLOWEST_READ * best.read_gb_per_s
            and self.gflops >= SLOWEST * best.gflops
            and self.int8_gops >= SLOWEST * best.int8_gops
        )

    def numbers(self) -> tuple[float, float, float]:
        """What was measured, in the order of the fields."""
        return self.read_gb_per_s, self.gflops, self.int8_gops


def probe() -> Probe:
    """Measure what the machine can do now, the best of three tries each."""
    many, native = torch.ones(_PROBE_BYTES // 4), machine()
    square = torch.ones(_PROBE_SIZE, _PROBE_SIZE)
    read_s = min(seconds(many.sum) for _ in range(_PROBE_TRIES))
    multiply_s = min(seconds(lambda: square @ square) for _ in range(_PROBE_TRIES))
    return Probe(
        read_gb_per_s=round(_PROBE_BYTES / read_s / 1e9, 2),
        gflops=round(2 * _PROBE_SIZE**3 / multiply_s / 1e9, 1),
        int8_gops=round((native.peak_int8_ops() or 0) / 1e9, 1) if native else 0.0,
    )


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


Values = Mapping[str, float]
"""What one run of one contender gives: named numbers."""


@dataclass(slots=True)
class Rounds:
    """All rounds of a benchmark: in each, every contender once, and the machine's worst probe."""

    values: list[dict[str, Values]] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    earlier: Probe | None = None
    """The best that the machine showed before."""

    @property
    def best(self) -> Probe:
        """The best that the machine showed."""
        shown = [*self.probes, *([] if self.earlier is None else [self.earlier])]
        return functools.reduce(Probe.at_best, shown)

    @property
    def counted(self) -> list[dict[str, Values]]:
        """The rounds in which the machine was itself."""
        best = self.best
        rounds = zip(self.values, self.probes, strict=True)
        return [values for values, probe in rounds if probe.counts(best)]

    @property
    def num_discarded(self) -> int:
        """How many rounds do not count."""
        return len(self.values) - len(self.counted)

    def of(self, contender: str, name: str) -> list[float]:
        """The values of one contender in the rounds that count."""
        return [values[contender][name] for values in self.counted]


def alternate(
    contenders: Mapping[str, Callable[[], Values]],
    options: argparse.Namespace,
    earlier: Probe | None = None,
) -> Rounds:
    """Let contenders take turns until enough rounds count.

    Each is warmed up, then the order turns by one from round to round.  Ends early, after one
    round at least, when twice the rounds were tried or the time is used up.

    Args:
        contenders: What is measured.
        options: `warmups`, `repeats` and `budget_s`.
        earlier: The best probes of what was measured before.
    """
    started, names, rounds = time.perf_counter(), list(contenders), Rounds(earlier=earlier)
    for _ in range(options.warmups):
        for run in contenders.values():
            run()
    while not _is_enough(rounds, options, time.perf_counter() - started):
        turn = len(rounds.values) % len(names)
        before = probe()
        rounds.values.append({name: contenders[name]() for name in names[turn:] + names[:turn]})
        rounds.probes.append(before.at_worst(probe()))
    return rounds


def _is_enough(rounds: Rounds, options: argparse.Namespace, elapsed_s: float) -> bool:
    if not rounds.values:
        return False
    tried, counted = len(rounds.values), len(rounds.counted)
    return (
        counted >= options.repeats or tried >= 2 * options.repeats or elapsed_s > options.budget_s
    )


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest and highest, and the values themselves."""
    return {
        "median": significant(median(values)),
        "spread": [significant(min(values)), significant(max(values))],
        "values": [significant(value) for value in values],
    }


def ratio(rounds: Rounds, name: str, ours: str, other: str) -> dict[str, float]:
    """How many times `other` fits into `ours`: of the medians, and the median of the rounds'."""
    mine, theirs = rounds.of(ours, name), rounds.of(other, name)
    return {
        "ratio_of_medians": significant(median(mine) / median(theirs)),
        "median_of_ratios": significant(median(a / b for a, b in zip(mine, theirs, strict=True))),
    }


def significant(value: float) -> float:
    """A number to four significant digits."""
    return float(f"{value:.4g}")


def print_line(
    benchmark: str,
    question: str,
    rounds: Rounds,
    *,
    units: Mapping[str, str],
    contenders: Sequence[str],
    compare: tuple[str, str] | None = None,
    **details: Any,
) -> list[dict[str, Any]]:
    """Print one JSON line for each number that was measured; returns what was printed.

    Args:
        benchmark: Name of the script.
        question: What it answers.
        rounds: What was measured.
        units: Unit of each number, by its name.
        contenders: Who gave the numbers.
        compare: Ours and the other, whose ratio is of interest.
        details: Settings of this run.
    """
    lines = []
    for name, unit in units.items():
        line = {
            "benchmark": benchmark,
            "question": question,
            "measured": name,
            "unit": unit,
            "results": {who: summary(rounds.of(who, name)) for who in contenders},
            "compared": ratio(rounds, name, *compare) | {"ours": compare[0], "other": compare[1]}
            if compare
            else None,
            "settings": details,
            "repeats": len(rounds.counted),
            "discarded": rounds.num_discarded,
            "probes": [asdict(each) for each in rounds.probes],
            **surroundings(),
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)
        lines.append(line)
    return lines


def surroundings() -> dict[str, Any]:
    """Date, machine, versions and commit."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.release()}",
            "instructions": torch.backends.cpu.get_cpu_capability(),
        },
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in PACKAGES},
        "commit": commit(),
    }


def cpu_model() -> str:
    """The processor's name; several kinds may bear the same, so family and model stand with it."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    found = {name.strip(): value.strip() for name, _, value in pairs}
    name = found.get("model name", platform.machine())
    return f"{name} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def commit() -> str:
    """The commit that is measured, `+` where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def parser(description: str, *, repeats: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--repeats", type=int, default=repeats, help="rounds that must count")
    made.add_argument("--warmups", type=int, default=1, help="rounds before, not measured")
    made.add_argument(
        "--budget-s", type=float, default=240.0, help="begin no further round after so long"
    )
    return made
