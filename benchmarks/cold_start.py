"""How long until the first word: from starting the process to the first byte of the answer?

    python benchmarks/cold_start.py --model qwen2.5-coder:0.5b

Beside `python -c "import torch"`, which is the least that a program on torch can take.  The files
are in the page cache: dropping it needs root and would hurt the other users of the machine, so
this is a cold process on a warm disk.
"""

import subprocess
import sys
import time
from collections.abc import Callable

from harness import MODEL, Values, alternate, parser, print_line

QUESTION = "Seconds from starting `tongwen run MODEL PROMPT` to the first byte of its answer"
PROMPT = "Say hello."
OURS, FLOOR = "tongwen run", "import torch"


def first_byte(command: list[str]) -> Values:
    """Seconds until a process writes to stdout, and until it ends."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        found = process.stdout.read(1)
        first_s = time.perf_counter() - started
        process.stdout.read()
    if process.returncode or not found:
        sys.exit(f"`{' '.join(command)}` failed with status {process.returncode}")
    return {"first_byte": first_s}


def contenders(model: str, weights: str) -> dict[str, Callable[[], Values]]:
    """Ours, and the least that a program on torch can take."""
    run = [sys.executable, "-m", "tongwen", "run", model, PROMPT, "--weights", weights]
    run += ["--temperature", "0", "--max-tokens", "4"]
    torch_alone = [sys.executable, "-c", "import torch; print(torch.__version__)"]
    return {OURS: lambda: first_byte(run), FLOOR: lambda: first_byte(torch_alone)}


def main() -> None:
    """Measure and print."""
    made = parser(QUESTION)
    made.add_argument("--model", default=MODEL)
    made.add_argument("--weights", default="auto", help="how ours holds them")
    asked = made.parse_args()
    rounds = alternate(contenders(asked.model, asked.weights), asked)
    print_line(
        "cold_start",
        QUESTION,
        rounds,
        units={"first_byte": "s"},
        contenders=[OURS, FLOOR],
        compare=(OURS, FLOOR),
        model=asked.model,
        weights=asked.weights,
        page_cache="warm",
    )


if __name__ == "__main__":
    main()
