"""The kernels for ARM, in an emulator: each processor runs those that it has, rightly."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("make", "cmake", "aarch64-linux-gnu-g++", "qemu-aarch64")
MISSING = [tool for tool in NEEDED if shutil.which(tool) is None]

CHOSEN = {
    "cortex-a72": "portable",  # no dot product: an instruction of it would end the run
    "cortex-a76": "portable neon",
    "max": "portable neon neon_i8mm",
}


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_every_arm_processor_runs_the_best_kernels_it_has_and_none_differs_from_portable() -> None:
    # what make was told of the outer run is not meant for this one
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--no-print-directory", "neon", "ARGS=2"],
        cwd=ROOT, env=outer, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    passed = re.findall(r"^-- (\S+)$(?:\n(?!--).*)*?\npassed: (.*)$", done.stdout, re.MULTILINE)
    assert dict(passed) == CHOSEN
