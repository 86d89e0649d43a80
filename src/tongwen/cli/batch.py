"""`tongwen batch`: answer the rows of an OpenAI batch file, by a model here or an endpoint."""

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tongwen.checkpoint.lock import locked
from tongwen.checkpoint.store import Store
from tongwen.cli.choose import Wish, choose, runnable_name
from tongwen.cli.names import SOURCES, complete_model, open_store
from tongwen.cli.remote import key_of
from tongwen.cli.run import WEIGHTS
from tongwen.cli.terminal import print_json, say
from tongwen.client.http import HttpClient, Retries
from tongwen.errors import RequestError
from tongwen.server.batch.local import Answerer, Here, Progress, There, run_file
from tongwen.server.config import Limits, ModelEntry, ServeConfig
from tongwen.server.main import make_service

_TERMINAL_S, _PLAIN_S = 0.2, 10.0
_ROW_S = 3600.0  # a row may wait long for its turn
_RETRIES = Retries(most=10, first_wait_s=1.0, longest_wait_s=120.0)
_OF_HERE = frozenset(
    {"--served-model-name", "--weights", "--context", "--generation-config", "--source", "--yes"}
)
"""Options that say how a model is brought into the memory of this machine."""

Ask = Callable[[Answerer], Awaitable[Progress]]


@click.command(name="batch")
@click.argument(
    "source", metavar="IN.jsonl", type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.argument("target", metavar="OUT.jsonl", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--model",
    shell_complete=complete_model,
    help="A name, a directory or a .gguf file; else the one used last.",
)
@click.option(
    "--served-model-name", "names", multiple=True, help="What rows call it; may be repeated."
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="auto", show_default=True)
@click.option("--context", type=click.IntRange(min=1), help="Tokens of prompt and answer together.")
@click.option(
    "--generation-config",
    "generation",
    type=click.Choice(["checkpoint", "none"]),
    default="checkpoint",
    show_default=True,
    help="Sampling where a row says nothing: as the checkpoint recommends, or temperature 1.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Rows at once.",
)
@click.option("--source", "hub", type=click.Choice(SOURCES), help="Fetch the model from here only.")
@click.option("--yes", "-y", is_flag=True, help="Agree to what would be asked.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as one JSON object.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="Ask there: anyone's OpenAI-compatible server, such as http://127.0.0.1:8000/v1.",
)
@click.option(
    "--api-key-env", metavar="NAME", help="Environment variable that holds the endpoint's key."
)
def command(source: Path, target: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Answer the rows of an OpenAI batch file.

    Answers and errors are appended to OUT.jsonl as they come.  Rows that it already holds are not
    asked again: a batch that was broken off, however, goes on where it was.

    With --endpoint the rows are asked there, with --model where a row names none.  What it refuses
    becomes an error; where it does not answer, or not with this key, the batch ends and can go on.
    """
    if options["endpoint"] is not None:
        _check_there()
    elif options["api_key_env"] is not None:
        raise click.UsageError("`--api-key-env` goes with `--endpoint`")
    if target.exists() and target.samefile(source):
        raise RequestError(f"`{source}` cannot be input and output at once")
    store = open_store()
    is_here = options["endpoint"] is None
    entry = _entry(store, options) if is_here else None
    key = hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:32]
    with locked(store.home / "locks" / f"batch-{key}", why=f"`{target}`"):
        show = _Shown(sys.stderr is not None and sys.stderr.isatty())
        ask = partial(
            run_file,
            source=source,
            target=target,
            concurrency=options["concurrency"],
            tell=show.tell,
        )
        run = _run_there(options, ask) if entry is None else _run_here(store, entry, ask)
        done = asyncio.run(run)
    show.end(done)
    if as_json:
        print_json(_summary(options["model"] if entry is None else entry.names[0], done))


def _check_there() -> None:
    """Refuse what says how a model is brought into the memory of this machine."""
    context = click.get_current_context()
    for option in context.command.params:
        name = option.opts[0]
        is_given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if name in _OF_HERE and is_given:
            raise click.UsageError(f"`{name}` is for models of this machine, not of an endpoint")


def _entry(store: Store, options: dict[str, Any]) -> ModelEntry:
    """The model, fetched where it is not on this machine."""
    wish = Wish(
        model=options["model"],
        source=options["hub"],
        weights=options["weights"],
        device="auto",
        context=options["context"],
        agrees=options["yes"],
    )
    local = choose(store, wish)
    name = local.name if local.source != "disk" else str(options["model"])
    return ModelEntry(
        model=runnable_name(local),
        aliases=options["names"] or (name,),
        weights=options["weights"],
        context=options["context"],
        generation=options["generation"],
    )


async def _run_there(options: dict[str, Any], ask: Ask) -> Progress:
    model, key = options["model"], key_of(os.environ, options["api_key_env"])
    client = HttpClient(
        options["endpoint"], model or "", api_key=key, timeout_s=_ROW_S, retries=_RETRIES
    )
    try:
        return await ask(There(client, model))
    finally:
        await client.close()


async def _run_here(store: Store, entry: ModelEntry, ask: Ask) -> Progress:
    # Importing torch takes a second: not before it is known that there is something to answer.
    from tongwen.cli.facts import read_facts
    from tongwen.cli.serving import load_served

    limits = Limits(waiting=1 << 31, request_s=float(1 << 31))
    config = ServeConfig(models=(entry,), keep_alive_s=-1.0, limits=limits)
    load = partial(load_served, home=store.home)
    look = partial(read_facts, cache=store.home / "tokenizers")
    service = make_service(config, store, load, look)
    try:
        return await ask(Here(service, entry.names[0]))
    finally:
        await service.pool.close()


class _Shown:
    """Progress on stderr: a line that changes on a terminal, elsewhere a line now and then.

    Args:
        is_terminal: Whether it is one.
    """

    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal, self._last = is_terminal, time.monotonic()

    def tell(self, progress: Progress) -> None:
        """Show it, unless it was shown a moment ago."""
        now = time.monotonic()
        if now - self._last < (_TERMINAL_S if self._is_terminal else _PLAIN_S):
            return
        self._last = now
        left = progress.left_s
        said = _line(progress) + ("" if left is None else f", {_duration(left)} left")
        if self._is_terminal:
            click.echo(f"\r\x1b[K{said}", err=True, nl=False)
        else:
            say(said)

    def end(self, progress: Progress) -> None:
        """Show where it ended."""
        if self._is_terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
        say(f"{_line(progress)} in {_duration(progress.seconds)}")


def _line(progress: Progress) -> str:
    before = f", {progress.before} of them before" if progress.before else ""
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"{progress.done}/{progress.total} rows{before}{failed}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _summary(model: str | None, done: Progress) -> dict[str, Any]:
    return {
        "model": model,
        "rows": done.total,
        "before": done.before,
        "completed": done.completed,
        "failed": done.failed,
        "usage": {
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
        },
        "seconds": round(done.seconds, 3),
    }
