"""The report of `quant_error.py`: a dated page with one table."""

from collections.abc import Sequence
from typing import Any

MOST_KL, MOST_CHANGE = 0.005, 0.005
"""The gate: mean KL divergence in nats, and the growth of perplexity."""

Line = dict[str, Any]

COLUMNS = (
    "weights",
    "windows",
    "KL",
    "lowest to highest window",
    "perplexity, float32",
    "native",
    "change",
    "same top token",
    "gate",
    "damage: KL",
    "perplexity",
    "same top token",
)

HEAD = """# How far native predictions stray, {date:.10}

Question: with the same stored weights, how far are the native kernels' predictions (8-bit
activations in groups of 32, keys and values in bfloat16) from plain float32?  And apart from that,
what do fewer bits of the weights cost against the file they were made from?

`{model}`, the first windows of {tokens} tokens of wikitext-2; {cpu}; commit {commit}.
Command: `python benchmarks/quant_error.py --llama DIR --out benchmarks/results`.
Bound of the gate: mean KL divergence at most {kl} nats, perplexity at most {change:.1%} more.  The
reference is computed with `TONGWEN_KERNELS=plain` in float32 on the dequantized values of the very
same file.

"""

CAVEATS = """
`file` is the model's own Q4_K_M mix and the parent of all others, so it has no damage here: what it
lost when it was made cannot be measured without the original.  `bf16`, `int8` and `int4` are made
from it by Tongwen (int8 and int4 are Q8_0 and Q4_0 of every matrix, embedding and head included);
the others by `llama-quantize --pure`.  K-quants need rows of a multiple of 256 values: matrices of
other widths stand in a format of 32 values instead.  The text is English prose; the model is one
for code.  Where the change of perplexity is negative, native predictions happened to fit this text
better: the difference is noise of that size.
"""


def report(lines: Sequence[Line], order: Sequence[str]) -> str:
    """The page, from lines of one or more runs; of a format the last counts."""
    found = {line["format"]: line for line in lines}
    rows = [found[name] for name in order if name in found]
    first = rows[0]
    head = HEAD.format(
        date=first["date"],
        model=first["model"],
        cpu=first["machine"]["cpu"],
        commit=first["commit"],
        kl=MOST_KL,
        change=MOST_CHANGE,
        tokens=first["settings"]["tokens"],
    )
    table = [" | ".join(COLUMNS), "|".join(["---"] * len(COLUMNS)), *map(_row, rows)]
    shares = [f"- {row['format']}: {_shares(row['matrices'])}" for row in rows if row["matrices"]]
    return (
        head
        + "".join(f"| {row} |\n" for row in table)
        + "\nWhat the files hold, by share of the matrices' values:\n\n"
        + "\n".join(shares)
        + "\n"
        + CAVEATS
    )


def _row(line: Line) -> str:
    gate, damage = line["gate"], line["damage"]
    low, high = gate["kl_spread"]
    cells = [
        line["format"],
        str(line["settings"]["windows"]),
        f"{gate['kl']:.5f}",
        f"{low:.5f} to {high:.5f}",
        f"{gate['true_perplexity']:.3f}",
        f"{gate['perplexity']:.3f}",
        f"{gate['perplexity_change']:+.2%}",
        f"{gate['agreement']:.1%}",
        "met" if line["passes"] else "**not met**",
        *_damage(damage),
    ]
    return " | ".join(cells)


def _damage(damage: Line | None) -> tuple[str, str, str]:
    if damage is None:
        return "", "", ""
    return (
        f"{damage['kl']:.4f}",
        f"{damage['perplexity_change']:+.2%}",
        f"{damage['agreement']:.1%}",
    )


def _shares(matrices: dict[str, int]) -> str:
    whole = sum(matrices.values())
    ordered = sorted(matrices.items(), key=lambda item: -item[1])
    return ", ".join(f"{format} {count / whole:.0%}" for format, count in ordered)
