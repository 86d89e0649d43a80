"""Every kind of weights predicts what plain float32 predicts of the same stored values."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tongwen.kernels.machine import machine

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("file", "bf16", "int8", "int4")

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(machine() is None, reason="there is one side only"),
]


def test_every_kind_of_weights_is_within_the_gate(real_gguf: Path, shared: Path) -> None:
    """One window of text; `benchmarks/results` has the 32 of the whole gate."""
    script = ROOT / "benchmarks" / "quant_error.py"
    sizes = ("--windows", "1", "--data", str(shared / "data"), "--model", str(real_gguf))
    ran = subprocess.run(
        [sys.executable, str(script), *sizes, "--formats", *KINDS],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line["format"] for line in lines] == list(KINDS)
    for line in lines:
        gate = line["gate"]
        assert 1e-6 < gate["kl"] <= 0.005, line["format"]
        assert gate["perplexity_change"] <= 0.005, line["format"]
        assert line["passes"]
    damage = {line["format"]: line["damage"]["kl"] for line in lines if line["damage"]}
    assert damage["bf16"] < damage["int8"] < damage["int4"], "fewer bits do more damage"
