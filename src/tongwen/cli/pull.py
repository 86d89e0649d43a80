"""`tongwen pull`: fetch models into the store."""

import click

from tongwen.checkpoint.model_names import parse_name
from tongwen.checkpoint.pull import SourceName
from tongwen.cli.fetch import fetch
from tongwen.cli.figures import size
from tongwen.cli.names import SOURCES, complete_model, open_store
from tongwen.cli.terminal import say


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=complete_model, metavar="NAME...")
@click.option("--source", type=click.Choice(SOURCES), help="Fetch from here only.")
def command(names: tuple[str, ...], source: SourceName | None) -> None:
    """Fetch models.

    What is fetched, from where and under which licence is said first.  A pull that was cut short
    goes on where it stopped.  A model in the cache of another tool (Hugging Face, ModelScope,
    Ollama, LM Studio) is not fetched again, unless a source is named.
    """
    store = open_store()
    for name in [parse_name(typed) for typed in names]:
        here = store.find(name, caches=source is None)
        model = here or fetch(store, name, source)
        told = f"is here already ({model.source})" if here else "is here now"
        say(f"{model.name} {told}: {size(model.size_bytes)}, licence {model.licence}")
