"""`tongwen eval score|verify|compare`: what is done with completions and receipts."""

from pathlib import Path

import click

from tongwen.cli.eval_progress import Shown
from tongwen.cli.names import open_store

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(name="score")
@click.argument("task")
@click.option("--completions", type=FILE, required=True, help="JSON lines: task_id, completion.")
@click.option("--data", type=FOLDER, help="Directory of the benchmarks' files.")
@click.option("--preset", help="The published way to grade it.")
@click.option("--limit", type=click.IntRange(1), help="The file completes only so many.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="For the receipt.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def score(
    task: str,
    *,
    completions: Path,
    data: Path | None,
    preset: str | None,
    limit: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Grade completions that are in a file; no model is asked."""
    from tongwen.cli.eval_tables import print_results
    from tongwen.evals.catalogue import task_named
    from tongwen.evals.measure import finished
    from tongwen.evals.stored import grade_stored
    from tongwen.evals.trial import EvalConfig

    task_named(task)
    config = EvalConfig(
        data=data, out=out or open_store().home / "evals", preset=preset, limit=limit
    )
    config.out.mkdir(parents=True, exist_ok=True)
    with Shown() as shown:
        result = finished(lambda: grade_stored(task, completions, config, shown.tell))
    print_results([result], as_json=as_json)
