"""What `tongwen eval` prints: the benchmarks there are, and the figures of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tongwen.cli.figures import columns
from tongwen.cli.terminal import print_json, say
from tongwen.evals.beside import published_beside
from tongwen.evals.catalogue import TASKS
from tongwen.evals.task import About
from tongwen.judge.benchmarks import Benchmarks

if TYPE_CHECKING:
    from tongwen.evals.measure import SuiteResult
    from tongwen.evals.trial import Result


@click.command(name="list")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Say of each whether its files are there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a task.")
def list_tasks(data: Path | None, as_json: bool) -> None:
    """Print the benchmarks: data, source, licence, presets, published figures."""
    figures = published_beside([True, False], as_printed=True)
    rows = [
        _row(name, kind.about, data) | {"published": figures.get(name, {})}
        for name, kind in TASKS.items()
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    click.echo(columns([["task", "data", *_SHOWN, "presets", "licence", "metric"], *_cells(rows)]))


_SHOWN = ("Qwen2-7B", "Qwen2-7B-Instruct")
"""Whose published figures stand in the table; JSON has those of all sizes."""


def _cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [row["task"], row["data"]]
        + [str(row["published"].get(model, "")) for model in _SHOWN]
        + [", ".join(row["presets"]), row["licence"], row["metric"]]
        for row in rows
    ]


def _row(name: str, about: About, data: Path | None) -> dict[str, Any]:
    return {
        "task": name,
        "title": about.title,
        "paper": about.paper,
        "data": _status(about, data),
        "obtain": about.obtain,
        "licence": about.licence,
        "metric": about.metric,
        "presets": {each: preset.source for each, preset in about.presets.items()},
        "needs": list(about.needs),
    }


def _status(about: About, data: Path | None) -> str:
    """Whether the files are there, whole or in part."""
    if data is None:
        is_there = all(any(name in about.hub for name in names) for names in about.files)
        return "on the hub" if is_there else "yours to get"
    files = Benchmarks(data)
    found = [files.find(names) for names in about.files]
    if all(path is None for path in found):
        return "absent"
    if None in found:
        return "in part"  # some of its languages, or all but the examples
    whole = all(files.find(names[:1]) is not None for names in about.files)
    return "there" if whole else "a sample"


def print_results(results: "list[Result]", *, as_json: bool) -> None:
    """Print the figures of a run on stdout, and where the receipts lie."""
    if as_json:
        for result in results:
            print_summary(result)
        return
    rows = [["task", "preset", "score", "stderr", "samples", "failed"]]
    for result in results:
        figure, receipt = result.figure, result.receipt
        stderr = "" if figure.stderr is None else f"{figure.stderr:.4f}"
        counts = [str(receipt.num_samples), str(receipt.num_failed)]
        settings = receipt.settings
        rows.append([settings.task, settings.preset, f"{figure.score:.4f}", stderr, *counts])
    click.echo(columns(rows))
    _say_where(results)


def print_card(whole: "SuiteResult", form: str) -> None:
    """Print a suite's table on stdout, and what was not run."""
    table = whole.table()
    forms = {"markdown": table.markdown, "csv": table.csv, "latex": table.latex}
    click.echo(forms[form](), nl=False)
    say_missing(whole)
    _say_where(whole.results)


def say_missing(whole: "SuiteResult") -> None:
    """Print which benchmarks of a suite were not run, and why."""
    for name, why in whole.missing.items():
        say(f"{name} was not run: {why}")


def _say_where(results: "list[Result]") -> None:
    """Print what of each benchmark was left out, and where its receipt lies."""
    for result in results:
        for left_out in result.not_run:
            say(f"{result.receipt.settings.task}: not run: {left_out}")
        say(f"receipt: {result.path}")


def print_summary(result: "Result") -> None:
    """Print what `--json` prints of a benchmark."""
    print_json(summary_of(result))


def summary_of(result: "Result") -> dict[str, Any]:
    """What `--json` prints of a benchmark."""
    receipt, figure = result.receipt, result.figure
    return {
        "task": receipt.settings.task,
        "preset": receipt.settings.preset,
        "score": figure.score,
        "stderr": figure.stderr,
        "num_samples": receipt.num_samples,
        "num_failed": receipt.num_failed,
        "receipt": str(result.path),
        "metrics": dict(figure.metrics),
        "groups": dict(figure.groups),
        "seconds": receipt.seconds,
        "not_run": list(result.not_run),
    }
