"""`tongwen rm`: delete models from the store."""

import click

from tongwen.checkpoint.derived import DerivedModels
from tongwen.checkpoint.model_names import parse_name
from tongwen.checkpoint.store import Store
from tongwen.cli.figures import size
from tongwen.cli.names import complete_model, open_store
from tongwen.cli.terminal import can_ask, say
from tongwen.errors import ConfigError


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
        freed = _remove(store, name)
        say(f"{name} is deleted: {size(freed)} freed")


def _remove(store: Store, name: str) -> int:
    """Delete a model, or what was derived from one; the bytes that this frees.

    Raises:
        ModelNotFoundError: There is none.
        ConfigError: Others are derived from it.
    """
    derived = DerivedModels(store.home)
    if derived.has(name):
        return derived.remove(name, store)
    if users := derived.users_of(parse_name(name).text):
        raise ConfigError(
            f"`{users[0]}` is derived from `{name}`", hint=f"`tongwen rm {' '.join(users)}` first"
        )
    return store.remove(name)
