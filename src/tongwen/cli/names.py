"""Where models are looked for, and how a shell completes their names."""

import os

import click
from click.shell_completion import CompletionItem

from tongwen.checkpoint.offers import offers
from tongwen.checkpoint.sources import default_home
from tongwen.checkpoint.store import Store

SOURCES = ("hub", "modelscope", "index")
"""Where models are fetched from, in the order in which they are asked."""


def open_store() -> Store:
    """The store of this user."""
    return Store(default_home(os.environ))


def complete_model(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models of the store and names of the table that begin so; where there is none, files."""
    known = {model.name: model.source for model in open_store().list()}
    if ctx.info_name != "rm":
        known |= {name: offer.licence for name, offer in offers().items() if name not in known}
    found = [(name, help) for name, help in known.items() if name.startswith(incomplete)]
    items = [CompletionItem(name, help=help) for name, help in found]
    return items or [CompletionItem(incomplete, type="file")]
