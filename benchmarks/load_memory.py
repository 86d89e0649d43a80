"""How much memory does loading take, against the size of the weights?

    python benchmarks/load_memory.py --model qwen2.5-coder:0.5b

Each number format in a process of its own, less what its imports took.  `peak` is the most that was
ever resident (`VmHWM`; `ru_maxrss` outlives exec and would show the parent's); pages of the mapped
file are among it, although the kernel takes them back whenever it wants.  `kept` is what the
process has for itself in the end, without such pages.
"""

import json
import subprocess
import sys

from harness import MODEL, Values, alternate, parser, print_line

QUESTION = "Memory of loading, over that of the imports, against the bytes of the weights"
WEIGHTS = ("file", "float32", "bf16")
LOAD = """
import json, sys
from tongwen.engine.llm import LLM

def resident(key):
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith(key + ":")]
    return int(line.split()[1]) * 1024

peak_before, kept_before = resident("VmHWM"), resident("RssAnon")
llm = LLM(sys.argv[1], weights=sys.argv[2], context=4096)
peak_bytes, kept_bytes = resident("VmHWM") - peak_before, resident("RssAnon") - kept_before
print(json.dumps({
    "weights": llm.plan.weights_bytes,
    "peak": peak_bytes,
    "peak_over_weights": peak_bytes / llm.plan.weights_bytes,
    "kept": kept_bytes,
    "kept_over_weights": kept_bytes / llm.plan.weights_bytes,
    "load": llm.load_s,
}))
"""


def load(model: str, weights: str) -> Values:
    """What one load took."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, model, weights], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Measure and print."""
    if sys.platform != "linux":
        sys.exit("load_memory.py reads /proc/self/status, which only Linux has")
    made = parser(QUESTION, repeats=3)
    made.add_argument("--model", default=MODEL)
    asked = made.parse_args()
    rounds = alternate({each: lambda each=each: load(asked.model, each) for each in WEIGHTS}, asked)
    print_line(
        "load_memory",
        QUESTION,
        rounds,
        units={
            "weights": "bytes",
            "peak": "bytes",
            "peak_over_weights": "1",
            "kept": "bytes",
            "kept_over_weights": "1",
            "load": "s",
        },
        contenders=WEIGHTS,
        model=asked.model,
        context=4096,
    )


if __name__ == "__main__":
    main()
