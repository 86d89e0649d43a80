"""`tongwen ps`: which servers run, and which models they hold."""

from typing import Any

import click

from tongwen.cli.figures import columns
from tongwen.cli.names import open_store
from tongwen.cli.remote import models_of
from tongwen.cli.terminal import print_json, say
from tongwen.server.running import Running, running_servers


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each server.")
def command(as_json: bool) -> None:
    """Print running servers and the models in their memory."""
    found = [_describe(running) for running in running_servers(open_store().home)]
    if as_json:
        for one in found:
            print_json(one)
    elif found:
        rows = [(one["url"], str(one["pid"]), ", ".join(one["loaded"]) or "-") for one in found]
        click.echo(columns([("ADDRESS", "PROCESS", "IN MEMORY"), *rows]))
    else:
        say("no server runs here; `tongwen serve` starts one")


def _describe(running: Running) -> dict[str, Any]:
    models = models_of(running)
    return {
        "url": running.url,
        "pid": running.pid,
        "needs_key": running.needs_key,
        "models": [model["id"] for model in models],
        "loaded": [model["id"] for model in models if model.get("is_loaded")],
    }
