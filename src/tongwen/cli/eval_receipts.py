"""`tongwen eval score|verify|compare`: what is done with completions and receipts."""

from pathlib import Path
from typing import Any

import click

from tongwen.cli.eval_progress import Shown
from tongwen.cli.names import open_store
from tongwen.cli.run import WEIGHTS
from tongwen.cli.terminal import print_json, visible

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(name="score")
@click.argument("task")
@click.option("--completions", type=FILE, required=True, help="JSON lines: task_id, completion.")
@click.option("--data", type=FOLDER, help="Directory of the benchmarks' files.")
@click.option("--preset", help="The published way to grade it.")
@click.option(
    "--limit", type=click.IntRange(1), help="The file completes only so many; the receipt says so."
)
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


@click.command(name="verify")
@click.argument("receipt", type=FILE)
@click.option("--model", help="Who is asked again; else the model that the receipt names.")
@click.option("--data", type=FOLDER, help="Directory of the benchmarks' files.")
@click.option("--sample", type=click.IntRange(0), help="Ask so many samples again; else all.")
@click.option("--concurrency", type=click.IntRange(1, 4096), default=64, show_default=True)
@click.option("--weights", type=click.Choice(WEIGHTS), default="auto", show_default=True)
@click.option("--endpoint", metavar="URL", help="Where the model is, if not here.")
@click.option("--api-key-env", metavar="NAME", help="Environment variable with its key.")
@click.option("--judge", metavar="MODEL", help="Who gives the verdicts, where the task wants them.")
@click.option("--judge-endpoint", metavar="URL", help="Where the judge is; else here.")
@click.option("--judge-key-env", metavar="NAME", help="Environment variable with its key.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(receipt: Path, *, data: Path | None, sample: int | None, **options: Any) -> None:  # noqa: ANN401
    """Run a receipt again: every bit must be the same.  Exit status 1 where one is not."""
    from tongwen.cli.eval_target import judge_of, target_of
    from tongwen.evals.receipt import read_receipt
    from tongwen.evals.subject import STORED
    from tongwen.evals.verify import Again
    from tongwen.evals.verify import verify as look

    subject = read_receipt(receipt).subject
    is_stored = subject.where == STORED
    if options["endpoint"] is None and subject.where.startswith("http"):
        options["endpoint"] = subject.where
    options["model"] = options["model"] or subject.name
    again = Again(data=data, num_samples=sample, concurrency=options["concurrency"])
    found = look(receipt, None if is_stored else target_of(options), again, judge=judge_of(options))
    if options["as_json"]:
        print_json(found.to_json())
    else:
        click.echo(visible(found.text()), nl=False)
    if not found.holds:
        click.get_current_context().exit(1)


@click.command(name="compare")
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Compare two receipts of one benchmark, sample by sample."""
    from tongwen.evals.compare import compare as pair
    from tongwen.evals.runs import read_runs

    found = pair(*read_runs([first, second]))
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(visible(found.text()), nl=False)
