"""Run every benchmark, keep its lines with the date in the name, and print tables of them.

    python benchmarks/run_all.py --machine epyc-2core

Writes `results/NAME_MACHINE_DATE.jsonl` for each benchmark and `results/table_MACHINE_DATE.md`;
`cpu_peers.py` writes its own report and chart.  The tables go to stdout, what goes on to stderr.
Keep the machine idle meanwhile.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peers_report
from harness import MODEL, cpu_model

HERE = Path(__file__).parent
BENCHMARKS = (
    *("decode_latency", "cold_start", "load_memory", "tokenizer_speed", "serve_http"),
    "sandbox_overhead",
)
HEAD = (
    "| benchmark | measured | who | median | lowest to highest | ratio |\n"
    "|---|---|---|---:|---:|---:|\n"
)

Line = dict[str, Any]


def run(name: str, arguments: list[str]) -> list[Line]:
    """The lines that a benchmark prints.

    Raises:
        subprocess.CalledProcessError: It failed; why stands on stderr.
    """
    print(name, file=sys.stderr)
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), *arguments],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def table(lines: list[Line]) -> str:
    """One row for each contender of each line."""
    first = lines[0]
    machine, versions = first["machine"], first["versions"]
    caption = (
        f"{machine['cpu']}, {machine['torch_threads']} threads, {machine['memory_gib']} GiB; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; commit {first['commit']}; {first['date']}.\n"
        "The ratio is that of the medians, then the median of the rounds' ratios.\n\n"
    )
    return caption + HEAD + "".join(row for line in lines for row in rows(line))


def rows(line: Line) -> list[str]:
    """The rows of one line; the ratio stands with ours."""
    compared = line["compared"]
    found = []
    for who, result in line["results"].items():
        is_ours = compared is not None and who == compared["ours"]
        ratios = (
            f"{compared['ratio_of_medians']:g}, {compared['median_of_ratios']:g}" if is_ours else ""
        )
        low, high = result["spread"]
        cells = [
            line["benchmark"],
            f"{line['measured']} ({line['unit']})",
            who,
            f"{result['median']:g}",
            f"{low:g} to {high:g}",
            ratios,
        ]
        found.append("| " + " | ".join(cells) + " |\n")
    return found


def slug(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def options() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description="Run every benchmark and keep what it gives.")
    usual = slug(f"{cpu_model().partition('(')[0]} {os.cpu_count()}core")
    made.add_argument("--machine", default=usual, help=f"its name in the files' ({usual})")
    made.add_argument("--model", default=MODEL)
    made.add_argument("--repeats", type=int, help="rounds that must count; else the scripts' own")
    made.add_argument("--out", type=Path, default=HERE / "results")
    return made.parse_args()


def main() -> None:
    """Run all, write the files."""
    asked = options()
    ending = f"{slug(asked.machine)}_{datetime.now(UTC):%Y-%m-%d}"
    arguments = ["--model", asked.model]
    if asked.repeats is not None:
        arguments += ["--repeats", str(asked.repeats)]
    asked.out.mkdir(parents=True, exist_ok=True)
    everything: list[Line] = []
    for name in BENCHMARKS:
        lines = run(name, arguments)
        everything += lines
        kept = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (asked.out / f"{name}_{ending}.jsonl").write_text(kept, encoding="utf-8")
    (asked.out / f"table_{ending}.md").write_text(table(everything), encoding="utf-8")
    print(table(everything), flush=True)
    own = ["--out", str(asked.out), "--machine", slug(asked.machine)]
    print(peers_report.table(run("cpu_peers", [*arguments, *own])), end="")


if __name__ == "__main__":
    main()
