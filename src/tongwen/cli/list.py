"""`tongwen list`: the models of this machine, or all that have names."""

import click

from tongwen.checkpoint.derived import Derived, DerivedModels
from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.offers import Offer, offers
from tongwen.cli.figures import ago, columns, parameters, size
from tongwen.cli.names import open_store
from tongwen.cli.terminal import print_json, say


@click.command()
@click.option("--available", is_flag=True, help="All names of the table, here or not.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each, one a line.")
def command(available: bool, as_json: bool) -> None:
    """Print the models on this machine, or all names.

    Names of the table mean the instruct model as Q4_K_M GGUF; endings name the rest.  Any
    repository of a hub may be pulled besides: `tongwen pull Org/Repo`.
    """
    store = open_store()
    here = {model.name: model for model in store.list()}
    if available:
        _print_available(here, as_json)
    else:
        _print_here(here, DerivedModels(store.home).list(), as_json)


def _print_here(here: dict[str, LocalModel], derived: list[Derived], as_json: bool) -> None:
    if as_json:
        for model in here.values():
            print_json(local_json(model))
        for made in derived:
            print_json(derived_json(made))
        return
    rows = [("NAME", "SIZE", "LICENCE", "FROM", "USED")]
    for model in here.values():
        used = ago(model.last_used)
        rows.append((model.name, size(model.size_bytes), model.licence, model.source, used))
    for made in derived:
        licence = made.licence.partition("\n")[0]
        rows.append((made.name, "-", licence, f"derived from {made.base}", "-"))
    click.echo(columns(rows))
    if not here:
        say("nothing is here yet; `tongwen list --available` prints what can be pulled")


def _print_available(here: dict[str, LocalModel], as_json: bool) -> None:
    table = offers().values()
    if as_json:
        for offer in table:
            print_json({**offer_json(offer), "is_here": offer.name in here})
        return
    rows = [("NAME", "SIZE", "PARAMETERS", "CONTEXT", "LICENCE", "")]
    for offer in table:
        marks = [
            "here" if offer.name in here else "",
            "on the package index" if offer.index else "",
        ]
        rows.append(
            (
                offer.name,
                size(offer.num_bytes),
                parameters(offer.num_parameters),
                str(offer.context),
                offer.licence,
                ", ".join(filter(None, [*marks, offer.note])),
            )
        )
    click.echo(columns(rows))


def local_json(model: LocalModel) -> dict[str, object]:
    """What is known of a model on this machine, for a program to read."""
    return {
        "name": model.name,
        "path": str(model.path),
        "size_bytes": model.size_bytes,
        "licence": model.licence,
        "source": model.source,
        "repo": model.repo,
        "revision": model.revision,
        "digest": model.digest,
        "lineage": list(model.lineage),
        "pulled_at": model.pulled_at.isoformat() if model.pulled_at else None,
        "last_used": model.last_used.isoformat() if model.last_used else None,
    }


def derived_json(made: Derived) -> dict[str, object]:
    """What is known of a derived model, for a program to read."""
    return {
        "name": made.name,
        "base": made.base,
        "source": "derived",
        "licence": made.licence,
        "lineage": list(made.lineage),
        "made_at": made.made_at,
        "system": made.system,
        "parameters": dict(made.parameters),
        "messages": [dict(message) for message in made.messages],
    }


def offer_json(offer: Offer) -> dict[str, object]:
    """A line of the table, for a program to read."""
    return {
        "name": offer.name,
        "repo": offer.repo,
        "size_bytes": offer.num_bytes,
        "parameters": offer.num_parameters,
        "context": offer.context,
        "licence": offer.licence,
        "lineage": list(offer.lineage),
        "note": offer.note,
        "on_package_index": offer.index is not None,
    }
