"""Keep receipts of evaluations, and print all kept figures beside the published ones.

    python benchmarks/eval_report.py RECEIPTS... --out benchmarks/results --machine NAME

The receipts are kept without their samples, which hold questions of the benchmarks and stay where
they were written; to run a receipt again makes them anew.
"""

import argparse
import shutil
from datetime import UTC, datetime
from pathlib import Path

from harness import cpu_model

from tongwen.evals.receipt import Receipt, read_receipt

PUBLISHED = {
    ("humaneval", "qwen2.5-coder:0.5b"): "61.6",
    ("humaneval", "qwen2.5-coder:1.5b"): "70.7",
    ("mbpp", "qwen2.5-coder:0.5b"): "52.4 on MBPP+'s own questions",
}
"""Of these very models (arXiv 2412.05210, Table 4), in per cent.  For the others nothing was."""

HEAD = """# Benchmarks of the real models

The 0.5B and 1.5B are Qwen2.5-Coder-Instruct as Q4_K_M files, on a CPU. One line a receipt in
`evals/`. What it does not show:

- They are models of code, quantized to 4 bits: figures of the Qwen2 card are of other models.
  Published figures of these very models exist for code alone.
- 200 samples drawn by seed 0 unless more are named: one standard error is 3 points.
- Presets say how it was asked; another gives another figure (`tongwen eval list`). MMLU by
  likelihood and by a written letter are two measurements: this model writes `A` two times in three.
- Languages without data here are left out of their means (BELEBELE: en, de; PAWS-X: de;
  mMMLU: ja).
- `code` is the digest of what asked and judged (`evals/`, `judge/`): runs are of several commits.
- A suite's table with all the rest is one command that resumes:
  `tongwen eval card-instruct --model qwen2.5-coder:0.5b --data DIR`.

"""


def row(receipt: Receipt) -> str:
    """A line of the table."""
    settings, figure = receipt.settings, receipt.figure
    scale = 1.0 if settings.task == "wikitext2" else 100.0
    error = "" if figure.stderr is None else f" ± {figure.stderr * scale:.1f}"
    failed = f" ({receipt.num_failed} failed)" if receipt.num_failed else ""
    known = PUBLISHED.get((settings.task, receipt.subject.name), "")
    return (
        f"| {settings.task} | {receipt.subject.name} | {settings.preset} | {settings.shots} "
        f"| {receipt.num_samples}{failed} | {figure.score * scale:.1f}{error} | {known} "
        f"| {receipt.code[:8]} |"
    )


def main() -> None:
    """Read, keep, write."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("receipts", nargs="+", type=Path)
    made.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    made.add_argument("--machine", default="here")
    asked = made.parse_args()
    kept = asked.out / "evals"
    kept.mkdir(parents=True, exist_ok=True)
    for path in asked.receipts:
        read_receipt(path)  # a damaged one is said before it lies among the others
        shutil.copyfile(path, kept / path.name)
    rows = [row(read_receipt(path)) for path in sorted(kept.glob("*.receipt.json"))]
    day = datetime.now(UTC).date().isoformat()
    lines = [
        "| benchmark | model | preset | shots | samples | score | published | code |",
        "|---|---|---|---:|---:|---:|---|---|",
        *rows,
    ]
    told = f"\n{cpu_model()}, {day}. Made by `benchmarks/eval_report.py`.\n"
    path = asked.out / f"evals_{asked.machine}_{day}.md"
    path.write_text(HEAD + "\n".join(lines) + "\n" + told, encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
