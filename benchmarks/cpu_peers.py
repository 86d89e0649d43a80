"""How fast on a CPU beside what people use today: every contender that is installed, in turns.

    TONGWEN_LLAMA_CPP=DIR TONGWEN_LLAMA_CPP_AVX2=DIR TONGWEN_OPENVINO_PYTHON=... \
    TONGWEN_VLLM_PYTHON=... TONGWEN_TRANSFORMERS_PYTHON=... \
    python benchmarks/cpu_peers.py [--groups file int4 ...] --out benchmarks/results

The first two variables name directories with llama.cpp's programs, built for this processor and
without AVX-512; the others name the Python of an environment in which the contender is installed.
What is missing is said and left out.  Each contender runs with as many threads as the machine has.
Decode is 64 tokens after 16, prefill 512; the crowd is 32 requests of a 128-token prompt and 64
tokens each, its figure the output tokens over all the time that prompts and completions took.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cold_start import FLOOR
from cold_start import OURS as RUN
from cold_start import contenders as cold_contenders
from harness import MODEL, Probe, Rounds, Values, alternate, cpu_model, parser, print_line
from peer_rows import AVX2, BUSY, FOUR_BITS, GROUPS, LLAMA_4, LLAMA_4_HEAD, OTHERS, OURS, UNITS
from peers import (
    LLAMA,
    LLAMA_AVX2,
    PeerError,
    Peers,
    Worker,
    in_bf16,
    llama_bench,
    llama_crowd,
    other,
    peak_bytes,
    requantized,
    tongwen,
)
from peers_report import chart, page, table

from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.llm import locate

QUESTION = "Speed and memory on a CPU beside what is used today"
LARGE = "qwen2.5-coder:1.5b"
LLAMA_CPP, OPENVINO, TRANSFORMERS, VLLM = OTHERS
CONTEXT, ANSWER = 4096, 64

MEMORY = """
import sys
from tongwen import LLM, SamplingParams
llm = LLM(sys.argv[1], weights="file", context=int(sys.argv[2]), speculate=False)
answer = int(sys.argv[3])
prompt = [i * 7919 % 100_000 for i in range(int(sys.argv[2]) - answer)]
params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=answer, ignore_eos=True)
llm.generate([prompt], params)
"""

Run = Callable[[], Values]
Line = dict[str, Any]


@dataclass(slots=True)
class Field:
    """One group's contenders, with what they need and what is missing."""

    peers: Peers
    model: Path
    scratch: Path
    stack: ExitStack
    runs: dict[str, Run] = field(default_factory=dict)
    about: dict[str, Line] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str, make: Callable[[], Run]) -> None:
        """Take a contender in, or note why it cannot run."""
        try:
            self.runs[name] = make()
        except PeerError as error:
            self.missing[name] = str(error)
            print(f"cpu_peers: without {name}: {error}", file=sys.stderr)

    def ours(self, name: str, works: Sequence[str], weights: str, model: Path, **env: str) -> None:
        """Take one of ours in."""
        worker = self.stack.enter_context(tongwen(model, weights, **env))
        self.about[name] = worker.ask("about")
        self.runs[name] = asking(worker, (*works, "peak"))


def installed(programs: Path | None, variable: str = LLAMA) -> Path:
    """Where llama.cpp is.

    Raises:
        PeerError: Nowhere.
    """
    if programs is None:
        raise PeerError(f"llama.cpp is not installed ({variable})")
    return programs


def asking(worker: Worker, works: Sequence[str]) -> Run:
    """Ask a process for each work in turn."""
    return lambda: {work: worker.ask(work) for work in works}


# ---- the groups


def file_group(field: Field) -> None:
    """The Q4_K_M file as it is, beside everybody."""
    model, peers = field.model, field.peers

    def llama() -> Run:
        programs = installed(peers.llama)
        return lambda: {
            **llama_bench(programs, model, ("decode", "prefill")),
            "crowd": llama_crowd(programs, model),
        }

    def openvino() -> Run:
        programs = installed(peers.llama)  # refuses Q4_K_M
        other_file = requantized(programs, model, "Q8_0", field.scratch)
        found = other(peers, "openvino", "openvino_gguf.py", other_file, field.stack)
        return asking(found, ("prefill",))

    def python(name: str, script: str, work: str) -> Run:
        if name not in peers.pythons:
            return asking(other(peers, name, script, model, field.stack), ())
        directory = in_bf16(model, field.scratch)
        return asking(other(peers, name, script, directory, field.stack), (work,))

    field.ours(OURS, ("decode", "prefill", "crowd"), "file", model)
    field.enter(LLAMA_CPP, llama)
    field.enter(OPENVINO, openvino)
    field.enter(TRANSFORMERS, lambda: python("transformers", "transformers_bf16.py", "prefill"))
    field.enter(VLLM, lambda: python("vllm", "vllm_bf16.py", "crowd"))


def int4_group(field: Field) -> None:
    """Four bits: the same file as llama.cpp, with its 8-bit head; and with a 4-bit head."""

    def llama(name: str, *options: str) -> None:
        def make() -> Run:
            programs = installed(field.peers.llama)
            stored = requantized(programs, field.model, "Q4_0", field.scratch, *options)
            if not options:
                field.ours(OURS, ("decode",), "file", stored)
            return lambda: llama_bench(programs, stored, ("decode",))

        field.enter(name, make)

    llama(LLAMA_4)
    field.ours(FOUR_BITS, ("decode",), "int4", field.model)
    llama(LLAMA_4_HEAD, "--output-tensor-type q4_0")


def large_group(field: Field) -> None:
    """The 1.5B."""

    def llama() -> Run:
        programs = installed(field.peers.llama)
        return lambda: llama_bench(programs, field.model, ("decode", "prefill"))

    field.ours(OURS, ("decode", "prefill"), "file", field.model)
    field.enter(LLAMA_CPP, llama)


def avx2_group(field: Field) -> None:
    """Both without AVX-512."""

    def llama() -> Run:
        programs = installed(field.peers.llama_avx2, LLAMA_AVX2)
        return lambda: llama_bench(programs, field.model, ("decode", "prefill"))

    field.ours(AVX2, ("decode", "prefill"), "file", field.model, TONGWEN_ISA="avx2")
    field.enter(LLAMA_CPP, llama)


def cold_group(field: Field) -> None:
    """From nothing to the first byte of an answer."""
    found = cold_contenders(str(field.model), "file")
    field.runs[RUN], field.runs[FLOOR] = found[RUN], found[FLOOR]


def memory_group(field: Field) -> None:
    """The most memory of a process that reads 4032 tokens and writes 64."""
    mine = [sys.executable, "-c", MEMORY, str(field.model), str(CONTEXT), str(ANSWER)]

    def llama() -> Run:
        programs = installed(field.peers.llama)
        command = [str(programs / "llama-bench"), "-m", str(field.model), "--no-warmup", "-r", "1"]
        sizes = ["-p", "0", "-n", "0", "-pg", f"{CONTEXT - ANSWER},{ANSWER}"]
        return lambda: {"peak_memory": peak_bytes([*command, *sizes]) / 1e6}

    field.runs[OURS] = lambda: {"peak_memory": peak_bytes(mine) / 1e6}
    field.enter(LLAMA_CPP, llama)


def busy_group(field: Field) -> None:
    """With something else computing on one core."""
    with_spinner = f"{LLAMA_CPP}{BUSY}"

    def llama() -> Run:
        programs = installed(field.peers.llama)
        return lambda: llama_bench(programs, field.model, ("decode",))

    field.ours(OURS, ("decode",), "file", field.model)
    field.runs[f"{OURS}{BUSY}"] = beside_spinner(field.runs[OURS])
    field.enter(LLAMA_CPP, llama)
    if LLAMA_CPP in field.runs:
        field.runs[with_spinner] = beside_spinner(field.runs[LLAMA_CPP])


def beside_spinner(run: Run) -> Run:
    """The same while another process computes on the first core."""

    def measured() -> Values:
        with spinner():
            return run()

    return measured


@contextmanager
def spinner() -> Iterator[None]:
    """A process that never rests, bound to one core."""
    first = min(os.sched_getaffinity(0))
    program = f"import os\nos.sched_setaffinity(0, {{{first}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


MAKE: dict[str, Callable[[Field], None]] = {
    "file": file_group,
    "int4": int4_group,
    "large": large_group,
    "avx2": avx2_group,
    "cold": cold_group,
    "memory": memory_group,
    "busy": busy_group,
}


# ---- the run


def measured(
    group: str, asked: argparse.Namespace, scratch: Path, earlier: Probe | None
) -> tuple[list[Line], Rounds]:
    """The lines of one group."""
    name = asked.large if group == "large" else asked.model
    model = locate(name, Store(default_home(os.environ)))
    with ExitStack() as stack:
        field = Field(Peers.from_environment(), model, scratch, stack)
        MAKE[group](field)
        rounds = alternate(field.runs, asked, earlier)
    if not rounds.counted:
        print(f"cpu_peers: no round of {group} counts: the machine was slow", file=sys.stderr)
        return [], rounds
    peaks = {who: max(rounds.of(who, "peak")) / 1e9 for who in field.about}
    lines = []
    for work in UNITS:
        who = [name for name in field.runs if work in rounds.values[0][name]]
        if who:
            lines += print_line(
                "cpu_peers",
                QUESTION,
                rounds,
                units={work: UNITS[work]},
                contenders=who,
                group=group,
                model=name,
                file=model.name,
                about=field.about,
                missing=field.missing,
                peak_gops=peaks,
            )
    return lines, rounds


def options() -> argparse.Namespace:
    """The command line."""
    made = parser(QUESTION)
    made.add_argument("--model", default=MODEL)
    made.add_argument("--large", default=LARGE)
    made.add_argument("--groups", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    made.add_argument("--out", type=Path, help="keep lines, report and chart in this directory")
    made.add_argument("--machine", default="", help="its name in the files'")
    made.add_argument("--scratch", type=Path, help="keep requantized files here, for the next run")
    return made.parse_args()


def keep(lines: list[Line], asked: argparse.Namespace) -> None:
    """Add to the day's lines; write report and chart of all of them."""
    ending = f"{asked.machine}_{datetime.now(UTC):%Y-%m-%d}".removeprefix("_")
    kept = asked.out / f"cpu_peers_{ending}.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    every = [json.loads(row) for row in kept.read_text(encoding="utf-8").splitlines()]
    kept.with_suffix(".md").write_text(page(every, kept.stem), encoding="utf-8")
    chart(every, kept.with_suffix(".svg"))


def main() -> None:
    """Measure, print, keep."""
    if sys.platform != "linux":
        sys.exit("cpu_peers.py binds processes and reads /proc, which only Linux has")
    asked = options()
    lines: list[Line] = []
    earlier: Probe | None = None
    with tempfile.TemporaryDirectory() as temporary:
        scratch = asked.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        for group in asked.groups:
            print(f"cpu_peers: {group}", file=sys.stderr)
            found, rounds = measured(group, asked, scratch, earlier)
            lines, earlier = lines + found, rounds.best
    if asked.out is not None:
        keep(lines, asked)
    print(f"{cpu_model()}\n\n{table(lines)}", file=sys.stderr)


if __name__ == "__main__":
    main()
