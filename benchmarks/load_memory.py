"""How much memory does loading take, against the size of the weights?

    python benchmarks/load_memory.py --model qwen2.5-coder:0.5b

Each number format in three processes of its own: `first` packs the weights and keeps them on the
disk, `again` maps what was kept, `memory` packs them into memory, as where the disk has no room.
What was resident before loading is subtracted.  `peak` is the most that was resident (`VmHWM`;
`ru_maxrss` outlives exec and would show the parent's) until a token has been computed, so that all
weights have been read; `anonymous` and `file` are what is resident then: memory of the process's
own, and pages of mapped files, which the kernel takes back whenever it wants.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import MODEL, Values, alternate, parser, print_line

from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.llm import locate

QUESTION = "Memory of loading, over what was there before, against the bytes of the weights"
WEIGHTS = ("file", "bf16", "int8", "int4")
STARTS = ("first", "again", "memory")
LOAD = """
import json, sys, time, torch
from pathlib import Path
from tongwen.checkpoint.kept import Kept
from tongwen.checkpoint.load import load_model, open_checkpoint, plan_weights
from tongwen.model.attention import PackedCausal
from tongwen.model.stream import Stream

KEYS = "VmRSS", "VmHWM", "RssAnon", "RssFile"

def resident():
    lines = (line.partition(":") for line in open("/proc/self/status"))
    return {key: int(value.split()[0]) * 1024 for key, _, value in lines if key in KEYS}

path, weights, home = sys.argv[1:]
source, cpu = open_checkpoint(Path(path)), torch.device("cpu")
plan = plan_weights(source, weights, cpu)
before, started = resident(), time.perf_counter()
model = load_model(source, plan, cpu, Kept(Path(home)) if home else None)
load_s = time.perf_counter() - started
with torch.no_grad():
    model(torch.tensor([1, 2]), Stream(attend=PackedCausal([2], model.config)))
after = resident()
print(json.dumps({
    "weights": plan.weights_bytes,
    "peak": after["VmHWM"] - before["VmRSS"],
    "peak_over_weights": (after["VmHWM"] - before["VmRSS"]) / plan.weights_bytes,
    "anonymous": after["RssAnon"] - before["RssAnon"],
    "file": after["RssFile"] - before["RssFile"],
    "load": load_s,
}))
"""


def load(path: Path, weights: str, home: Path | None) -> Values:
    """What one load took."""
    command = [sys.executable, "-c", LOAD, str(path), weights, str(home or "")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def start(path: Path, weights: str, how: str, home: Path) -> Values:
    """One load in one of the three ways; what is kept lies below `home`."""
    if how == "first":
        for kept in (home / "packed").glob("*"):
            kept.unlink()
    return load(path, weights, None if how == "memory" else home)


def main() -> None:
    """Measure and print."""
    if sys.platform != "linux":
        sys.exit("load_memory.py reads /proc/self/status, which only Linux has")
    made = parser(QUESTION, repeats=3)
    made.add_argument("--model", default=MODEL)
    asked = made.parse_args()
    store = Store(default_home(os.environ))
    path = locate(asked.model, store)
    with tempfile.TemporaryDirectory(dir=store.home) as home:
        contenders = {
            each: lambda each=each: _all_starts(path, each, Path(home)) for each in WEIGHTS
        }
        rounds = alternate(contenders, asked)
    names = rounds.values[0][WEIGHTS[0]]
    print_line(
        "load_memory",
        QUESTION,
        rounds,
        units={name: _unit(name) for name in names},
        contenders=WEIGHTS,
        model=asked.model,
    )


def _all_starts(path: Path, weights: str, home: Path) -> Values:
    """The numbers of all three ways, each under the way's name."""
    return {
        f"{how} {name}": value
        for how in STARTS
        for name, value in start(path, weights, how, home).items()
    }


def _unit(name: str) -> str:
    if name.endswith("over_weights"):
        return "1"
    return "s" if name.endswith("load") else "bytes"


if __name__ == "__main__":
    main()
