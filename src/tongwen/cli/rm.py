"""`tongwen rm`: delete models from the store."""

import click

from tongwen.cli.figures import size
from tongwen.cli.names import complete_model, open_store
from tongwen.cli.terminal import can_ask, say


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=complete_model, metavar="NAME...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(names: tuple[str, ...], yes: bool) -> None:
    """Delete models.

    Files that another name uses too are kept, and so is what belongs to other tools.
    """
    if not yes and not can_ask():
        raise click.UsageError("without a terminal to ask on, `--yes` is needed")
    if not (yes or click.confirm(f"delete {', '.join(names)}?", err=True)):
        return
    store = open_store()
    for name in names:
        freed = store.remove(name)
        say(f"{name} is deleted: {size(freed)} freed")
