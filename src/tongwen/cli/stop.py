"""`tongwen stop`: end servers, when what they are writing is written."""

import os
import signal
import time
from pathlib import Path

import click

from tongwen.cli.names import open_store
from tongwen.cli.terminal import say
from tongwen.errors import ConfigError
from tongwen.server.running import Running, running_servers

_LOOKS_EVERY_S = 0.1


@click.command()
@click.argument("address", required=False)
@click.option("--all", "is_all", is_flag=True, help="All servers of this machine.")
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds to wait.")
def command(address: str | None, is_all: bool, timeout_s: float) -> None:
    """End a server; requests that it is answering are finished first.

    ADDRESS is one that `tongwen ps` prints, or its port; it may be left out where one runs.
    """
    home = open_store().home
    found = running_servers(home)
    chosen = found if is_all else _chosen(found, address)
    for running in chosen:
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    for running in chosen:
        _wait(home, running, deadline)
        say(f"{running.url} has ended")


def _chosen(found: list[Running], address: str | None) -> list[Running]:
    if address is not None:
        wanted = [one for one in found if address in (one.url, one.url.rpartition(":")[2])]
    else:
        wanted = found
    if len(wanted) == 1:
        return wanted
    if not found:
        raise ConfigError("no server runs here")
    known = ", ".join(one.url for one in found)
    if not wanted:
        raise ConfigError(f"no server at `{address}`; there are {known}")
    raise ConfigError(f"{len(found)} servers run: {known}", hint="name one, or give `--all`")


def _wait(home: Path, running: Running, deadline: float) -> None:
    while time.monotonic() < deadline:
        if running not in running_servers(home):
            return
        time.sleep(_LOOKS_EVERY_S)
    raise ConfigError(f"{running.url} (process {running.pid}) is still finishing requests")
