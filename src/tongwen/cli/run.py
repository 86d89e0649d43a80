"""`tongwen run`: ask a model once, or talk with it."""

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.core import ParameterSource

from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.store import Store
from tongwen.cli.choose import Wish, choose, runnable_name
from tongwen.cli.names import SOURCES, complete_model, open_store
from tongwen.cli.remote import Remote, find_remote, key_of, turns_of
from tongwen.cli.sampling import sampling_options, settings_of
from tongwen.cli.terminal import print_json, say
from tongwen.engine.params import params_from
from tongwen.errors import RequestError

WEIGHTS = ("auto", "file", "float32", "bf16", "int8", "int4")

_SAYS_WAITING_AFTER_S = 2.0
_OF_HERE = ("context", "weights", "device", "source")
"""Options that say how a model is brought into the memory of this machine."""


@click.command(
    epilog="Text on stdin goes before PROMPT, with an empty line between: "
    "tongwen run qwen2:7b 'Summarize this.' < report.txt"
)
@click.argument("model", required=False, shell_complete=complete_model)
@click.argument("prompt", nargs=-1)
@sampling_options
@click.option("--system", help="What the model is told before all.")
@click.option("--context", type=click.IntRange(min=1), help="Tokens of prompt and answer together.")
@click.option("--weights", type=click.Choice(WEIGHTS), default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda ...")
@click.option(
    "--chat/--no-chat", default=None, help="Take turns, or continue text; else as trained."
)
@click.option("--verbose", is_flag=True, help="Say what an answer took.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--source",
    type=click.Choice(SOURCES),
    help="Fetch from here only; `index` also agrees to the model it has of the same architecture.",
)
@click.option("--yes", "-y", is_flag=True, help="Agree to what would be asked.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="Ask MODEL there: anyone's OpenAI-compatible server, such as http://127.0.0.1:8000/v1.",
)
@click.option(
    "--api-key-env", metavar="NAME", help="Environment variable that holds the endpoint's key."
)
def command(
    model: str | None,
    prompt: tuple[str, ...],
    *,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - whatever the decorators above name
) -> None:
    """Ask a model, or talk with it.

    MODEL is a name (`tongwen list --available`), a hub's Org/Repo, a directory or a .gguf file;
    without one, the model that was used last.  Without PROMPT, and with nothing on stdin, a
    conversation begins.  A single PROMPT is answered by a server of this machine that has the model
    in memory, if one runs (`tongwen ps`).
    """
    settings = settings_of(options)
    params_from(settings)  # refuses what is out of range
    text = _text(prompt)
    if as_json and text is None:
        raise click.UsageError("`--json` needs a PROMPT, as an argument or on stdin")
    if options["endpoint"] is not None:
        _ask_remote(_anyones(model, text), text or "", settings, options, as_json=as_json)
        return
    if options["api_key_env"] is not None:
        raise click.UsageError("`--api-key-env` goes with `--endpoint`")
    wish = Wish(
        model=model,
        source=options["source"],
        weights=options["weights"],
        device=options["device"],
        context=options["context"],
        agrees=options["yes"],
    )
    store = open_store()
    local = choose(store, wish)
    remote = _remote(store, local, options) if text is not None else None
    if remote is not None and text is not None:
        _ask_remote(remote, text, settings, options, as_json=as_json)
        return
    # Importing torch takes two seconds: not before it is known that there is something to run.
    with _without_collections():
        from tongwen.cli.conversation import Conversation
        from tongwen.cli.session import Loader, Session

        loader = Loader(store, wish)
        session = Session(
            llm=loader.ready(local),
            local=local,
            loader=loader,
            settings=settings,
            conversation=Conversation(system=options["system"]),
            chat=options["chat"],
            is_verbose=options["verbose"],
        )
    if text is None:
        from tongwen.cli.repl import converse

        converse(session, store.home)
        return
    session.begin()
    answer = session.ask(text, quiet=as_json)
    if as_json:
        print_json(answer.to_json(session.llm.load_s))
    session.remark(answer)


def _remote(store: Store, local: LocalModel, options: dict[str, Any]) -> Remote | None:
    """A running server that has the model as it is asked for: no other weights, device, context."""
    plain = options["weights"] == "auto" and options["device"] == "auto"
    if not plain or options["context"] is not None or options["chat"] is not None:
        return None
    return find_remote(store.home, runnable_name(local))


def _anyones(model: str | None, text: str | None) -> Remote:
    """The model of an endpoint that was named."""
    context = click.get_current_context()
    options = context.params
    if model is None or text is None:
        raise click.UsageError("`--endpoint` needs a MODEL and a PROMPT")
    for name in _OF_HERE:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"`--{name}` is for models of this machine, not of an endpoint")
    if options["chat"] is False and options["system"] is not None:
        raise click.UsageError("`--system` is part of a conversation: it excludes `--no-chat`")
    key = key_of(os.environ, options["api_key_env"])
    speaks_ids = None if options["as_json"] else False  # nobody reads them elsewhere
    return Remote(options["endpoint"], model, key, speaks_ids)


def _ask_remote(
    remote: Remote, text: str, settings: dict[str, Any], options: dict[str, Any], *, as_json: bool
) -> None:
    from rich.console import Console

    from tongwen.cli.render import sink_for

    if options["verbose"]:
        say(f"{remote.url} has {remote.name} and answers")
    sink = None if as_json else sink_for(Console(highlight=False), shows_marks=True)
    prompt = text if options["chat"] is False else turns_of(text, options["system"])
    answer = remote.answer(prompt, params_from(settings), sink)
    if as_json:
        print_json(answer)
    if answer["finish_reason"] == "length":
        say("(cut off: `max_tokens` or the context is full)")


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Let nobody look for cycles among the objects that come in, now or later.

    torch and a vocabulary are half a million objects that stay: going through them again and again
    takes a third of a second of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _text(words: Sequence[str]) -> str | None:
    """The prompt: what is piped, then what is typed; None where a conversation is wanted."""
    typed, piped = " ".join(words), _piped()
    if parts := [part for part in (piped, typed) if part and part.strip()]:
        return "\n\n".join(parts)
    if words or piped is not None:
        raise click.UsageError("the prompt is empty, and there is no terminal for a conversation")
    return None


def _piped() -> str | None:
    """Text on stdin, less the newline at its end; None where stdin is a terminal."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        return None
    waiting = threading.Timer(_SAYS_WAITING_AFTER_S, say, ("waiting for the end of stdin",))
    waiting.daemon = True
    waiting.start()
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise RequestError(f"stdin is not UTF-8: byte {error.start} is wrong") from error
    finally:
        waiting.cancel()
