"""`tongwen eval report`: receipts as a table, a page, or the files of another harness."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tongwen.cli.terminal import print_json, say, visible

if TYPE_CHECKING:
    from tongwen.evals.receipt import Receipt
    from tongwen.evals.runs import Run
    from tongwen.evals.tables import Published

FORMS = ("markdown", "json", "page", "lm-eval", "opencompass")


@click.command(name="report")
@click.argument(
    "receipts",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "--form",
    type=click.Choice(FORMS),
    default="markdown",
    show_default=True,
    help="A table or JSON on stdout, a page with every transcript, or another harness's files.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The page, or a directory of files.")
def report(receipts: tuple[Path, ...], *, form: str, out: Path | None) -> None:
    """Print receipts side by side, with what the Qwen2 cards say, or write them to --out."""
    from tongwen.evals.runs import read_runs

    if (out is None) != (form in ("markdown", "json")):
        wants = "goes to stdout" if out else "needs --out"
        raise click.UsageError(f"--form {form} {wants}")
    if out is None:
        print_runs(read_runs(receipts), as_json=form == "json")
    elif form == "page":
        print_page(out, receipts)
    else:
        from tongwen.evals.export import export

        for path in export(read_runs(receipts), form, out):
            say(f"wrote {path}")


def print_runs(runs: "Sequence[Run]", *, as_json: bool) -> None:
    """Print runs on stdout, beside what was published; of `safety` also the card's own table."""
    from tongwen.evals.cards import Measured, safety_table
    from tongwen.evals.tables import as_json as to_json
    from tongwen.evals.tables import markdown

    receipts = [run.receipt for run in runs]
    if as_json:
        print_json(to_json(runs, _published(receipts)))
        return
    click.echo(visible(markdown(runs, _published(receipts))), nl=False)
    safe = [each for each in receipts if each.settings.task == "safety"]
    if safe:
        models = [Measured(each.subject.name, {"safety": each.figure}) for each in safe]
        click.echo("\n" + visible(safety_table(models).markdown()), nl=False)


def print_page(path: Path, receipts: "Sequence[Path]") -> None:
    """Write receipts as one HTML file, and say where."""
    from tongwen.evals.page import write_page
    from tongwen.evals.receipt import read_receipt

    write_page(path, receipts, published=_published([read_receipt(each) for each in receipts]))
    say(f"wrote {path}")


def _published(receipts: "Sequence[Receipt]") -> "Published":
    from tongwen.evals.beside import published_beside

    return published_beside(each.subject.is_chat for each in receipts)
