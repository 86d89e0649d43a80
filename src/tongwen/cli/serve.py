"""`tongwen serve`: models on a port, for everyone's client."""

import contextlib
import dataclasses
import ipaddress
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from tongwen.checkpoint.store import Store
from tongwen.cli.choose import Wish, choose, runnable_name
from tongwen.cli.names import SOURCES, complete_model, open_store
from tongwen.cli.run import WEIGHTS
from tongwen.cli.terminal import say
from tongwen.config import load
from tongwen.server.config import DEFAULT_PORT, KeyEntry, ModelEntry, ServeConfig


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL ...]", shell_complete=complete_model)
@click.option(
    "--config",
    "recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A serve.toml: models, aliases, keys, limits. Other options replace what it says.",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help=f"[default: {DEFAULT_PORT}]")
@click.option(
    "--served-model-name", "names", multiple=True, help="What clients call MODEL; may be repeated."
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="auto", show_default=True)
@click.option("--context", type=click.IntRange(min=1), help="Tokens of prompt and answer together.")
@click.option("--draft", help="A smaller model that guesses for MODEL.")
@click.option(
    "--generation-config",
    "generation",
    type=click.Choice(["checkpoint", "none"]),
    default="checkpoint",
    show_default=True,
    help="Sampling where a request says nothing: as the checkpoint recommends, or temperature 1.",
)
@click.option("--keep-alive", type=float, help="Seconds in memory after use; negative: for ever.")
@click.option(
    "--api-key-env", "key_env", multiple=True, help="Environment variable that holds a key."
)
@click.option("--allow-origin", "origins", multiple=True, help="A page's address that may ask.")
@click.option("--allow-host", "hosts", multiple=True, help="A name of this server.")
@click.option(
    "--allow-dir",
    "allow_dirs",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Files below it may be named in FROM.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--log-prompts", is_flag=True, help="Write what clients ask into the log.")
@click.option("--source", type=click.Choice(SOURCES), help="Fetch models from here only.")
@click.option("--yes", "-y", is_flag=True, help="Agree to what would be asked.")
def command(models: tuple[str, ...], recipe: Path | None, **options: Any) -> None:  # noqa: ANN401
    """Serve models on a port, for everyone's client.

    One port has OpenAI's, Ollama's and Anthropic's APIs, and a page to chat.  Without MODEL and
    `--config`, every model of the store is served, each loaded when it is first asked for.
    """
    config = _config(models, recipe, options)
    store = open_store()
    entries = [_here(store, entry, options) for entry in config.models]
    config = dataclasses.replace(config, models=tuple(entries))
    _warn(config)
    logging.getLogger("tongwen.server").setLevel(logging.INFO)
    # Importing torch takes a second: not before it is known that there is something to serve.
    from tongwen.cli.facts import read_facts
    from tongwen.cli.serving import load_served
    from tongwen.server.main import serve

    serve(
        config,
        store,
        partial(load_served, home=store.home),
        partial(read_facts, cache=store.home / "tokenizers"),
        read_again=_reader(models, recipe, options),
        say=_tell,
    )


def _config(models: Sequence[str], recipe: Path | None, options: dict[str, Any]) -> ServeConfig:
    """What the file says, and what the command line says in its place."""
    config = ServeConfig() if recipe is None else load(ServeConfig, recipe)
    names = tuple(options["names"])
    if names and len(models) != 1:
        raise click.UsageError(f"`--served-model-name` names one MODEL, not {len(models)}")
    if models:
        entries = tuple(
            ModelEntry(
                model=model,
                aliases=names,
                weights=options["weights"],
                context=options["context"],
                generation=options["generation"],
                draft=options["draft"],
                keep_alive_s=-1.0 if options["keep_alive"] is None else options["keep_alive"],
            )
            for model in models
        )
        config = dataclasses.replace(config, models=entries)
    given = {
        "host": options["host"],
        "port": options["port"],
        "keep_alive_s": options["keep_alive"],
        "tls_cert": options["tls_cert"],
        "tls_key": options["tls_key"],
        "log_prompts": options["log_prompts"] or None,
    }
    given |= {name: tuple(options[name]) or None for name in ("origins", "hosts", "allow_dirs")}
    keys = tuple(KeyEntry(name=name, env=name) for name in options["key_env"])
    given["keys"] = (*config.keys, *keys)
    return dataclasses.replace(
        config, **{name: value for name, value in given.items() if value is not None}
    )


def _reader(
    models: Sequence[str], recipe: Path | None, options: dict[str, Any]
) -> Callable[[], ServeConfig]:
    """What reads the same again."""
    return lambda: _config(models, recipe, options)


def _here(store: Store, entry: ModelEntry, options: dict[str, Any]) -> ModelEntry:
    """The entry of a model that is on this machine, fetched where it was not."""
    local = choose(
        store,
        Wish(
            model=entry.model,
            source=options["source"],
            weights=entry.weights,
            device="auto",
            context=entry.context,
            agrees=options["yes"],
        ),
    )
    aliases = entry.aliases or (local.name if local.source != "disk" else entry.model,)
    return dataclasses.replace(entry, model=runnable_name(local), aliases=aliases)


def _tell(message: str) -> None:
    """Say something, to whoever still listens: a full disk under the log stops no server."""
    with contextlib.suppress(OSError):
        say(message)


def _warn(config: ServeConfig) -> None:
    """Say what is open to whom, where it is open to others."""
    if _is_loopback(config.host):
        return
    if not config.keys:
        _tell(f"warning: whoever reaches {config.host} may ask: no key is set (`--api-key-env`)")
    if config.tls_cert is None:
        _tell("warning: keys and prompts travel in the open: no TLS (`--tls-cert`, `--tls-key`)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
