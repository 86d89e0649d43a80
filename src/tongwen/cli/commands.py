"""What a line that begins with a slash does in a conversation."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tongwen.cli.conversation import load_conversation
from tongwen.cli.figures import columns, parameters, size
from tongwen.cli.sampling import SAMPLING
from tongwen.cli.session import Session
from tongwen.cli.terminal import say, visible
from tongwen.engine.params import params_from
from tongwen.errors import RequestError
from tongwen.model.account import count_parameters


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    run: Callable[[Session, str], None]
    """Does it, given what follows its name."""

    usage: str
    """What may follow its name."""

    help: str
    """What it does, in a line."""


class LeaveError(Exception):
    """The conversation is over: no failure, but the way out of the loop."""


def run_command(session: Session, line: str) -> None:
    """Do what a line that begins with a slash asks for.

    Raises:
        RequestError: There is no such command, or what follows it is wrong.
        LeaveError: The conversation is over.
    """
    name, _, rest = line.strip().partition(" ")
    command = COMMANDS.get(_ALIASES.get(name, name))
    if command is None:
        raise _unknown("command", name, COMMANDS)
    command.run(session, rest.strip())


def _unknown(kind: str, given: str, known: Iterable[str]) -> RequestError:
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    meant = f"; did you mean `{near[0]}`?" if near else ""
    return RequestError(f"unknown {kind} `{given}`{meant}", hint=f"there are {', '.join(known)}")


def _set(session: Session, rest: str) -> None:
    what, _, value = rest.partition(" ")
    if what == "parameter":
        _set_parameter(session, value.strip())
    elif what == "system":
        _system(session, value.strip())
    elif what in _SWITCHES and not value:
        field, is_on = _SWITCHES[what]
        setattr(session, field, is_on)
    else:
        raise _unknown("setting", what, ("parameter", "system", *_SWITCHES))


_SWITCHES = {
    "verbose": ("is_verbose", True),
    "quiet": ("is_verbose", False),
    "history": ("keeps_history", True),
    "nohistory": ("keeps_history", False),
    "markdown": ("shows_markdown", True),
    "raw": ("shows_markdown", False),
}


def _set_parameter(session: Session, rest: str) -> None:
    name, _, text = rest.partition(" ")
    if name not in SAMPLING:
        raise _unknown("parameter", name, SAMPLING)
    if text.strip() in ("", "default"):
        session.settings.pop(name, None)
        return
    kind, _ = SAMPLING[name]
    try:
        value = kind(text.strip())
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise RequestError(f"`{name}` should be {expected}, not `{text.strip()}`") from None
    settings = {**session.settings, name: value}
    params_from(settings)  # refuses what is out of range
    session.settings = settings


def _system(session: Session, rest: str) -> None:
    if rest and not session.is_chat:
        raise RequestError("this model continues text, and reads no system text")
    if rest:
        session.conversation.system = unquoted(rest)
    else:
        _show_system(session)


def unquoted(text: str) -> str:
    """`text` without the triple quotes around it, if there are any."""
    bare = text.strip()
    if len(bare) >= 6 and bare.startswith('"""') and bare.endswith('"""'):
        return bare[3:-3].strip("\n")
    return text


def _show(session: Session, rest: str) -> None:
    if rest not in _SHOWS:
        raise _unknown("subject", rest or "(none)", _SHOWS)
    _SHOWS[rest](session)


def _show_info(session: Session) -> None:
    llm = session.llm
    rows = [
        ("model", session.local.name),
        ("parameters", parameters(count_parameters(llm.config).total)),
        ("context", f"{llm.context} tokens, of {llm.config.max_position_embeddings} trained"),
        ("weights", f"{llm.plan.numerics}, {size(llm.plan.weights_bytes)} in memory"),
        ("device", str(llm.device)),
        ("file", str(session.local.path)),
        ("licence", session.local.licence),
    ]
    click.echo(columns(rows))


def _show_parameters(session: Session) -> None:
    params, defaults = session.params(), session.llm.generation
    sampling = params.resolve(defaults, seed=0)
    rows = [("parameter", "value", "from")]
    for name in SAMPLING:
        if name in session.settings:
            value, source = session.settings[name], "you"
        elif name in ("seed", "max_tokens", "stop"):
            value, source = {"seed": "random", "max_tokens": "none"}.get(name, "none"), "default"
        else:
            value, source = getattr(sampling, name), "checkpoint"
        rows.append((name, str(value), source))
    click.echo(columns(rows))


def _show_system(session: Session) -> None:
    own = session.conversation.system
    if not session.is_chat:
        click.echo("(none: this model continues text)")
    elif own is not None:
        click.echo(visible(own))
    else:
        default = session.llm.chat_format.default_system
        click.echo(f"{visible(default)}   (the model's own)" if default else "(none)")


def _show_template(session: Session) -> None:
    click.echo(visible(session.llm.source.chat_template or "(none)"))


def _show_licence(session: Session) -> None:
    licence = session.local.licence
    repo = session.local.repo
    click.echo(f"{visible(licence)}{f'   (its text: {repo})' if repo else ''}")


_SHOWS: dict[str, Callable[[Session], None]] = {
    "info": _show_info,
    "parameters": _show_parameters,
    "system": _show_system,
    "template": _show_template,
    "license": _show_licence,
    "licence": _show_licence,
}


def _clear(session: Session, rest: str) -> None:
    _nothing_after("/clear", rest)
    session.conversation.clear()
    say("(a new conversation)")


def _save(session: Session, rest: str) -> None:
    if not session.conversation.turns:
        raise RequestError("there is no conversation to save yet")
    path = _path("/save", rest)
    digest = session.llm.tokenizer.digest
    session.conversation.save(path, model=session.local.name, tokenizer=digest)
    say(f"(saved to {path}: {len(session.conversation.turns)} turns)")


def _load(session: Session, rest: str) -> None:
    """A conversation where `rest` is such a file, else a model."""
    path = _path("/load", rest)
    is_text = path.suffix.lower() in (".json", ".jsonl")
    if is_text or (path.is_file() and path.suffix.lower() != ".gguf"):
        if not session.is_chat:
            raise RequestError("this model continues text, and takes no turns")
        digest = session.llm.tokenizer.digest
        session.conversation = load_conversation(path, tokenizer=digest)
        say(f"(loaded {len(session.conversation.turns)} turns from {path})")
    else:
        session.switch(rest)
        session.begin()
        say(f"({session.local.name}, a new conversation)")


def _path(command: str, rest: str) -> Path:
    if not rest:
        raise RequestError(f"`{command}` needs a name", hint=f"{command} {COMMANDS[command].usage}")
    return Path(rest).expanduser()


def _help(_: Session, rest: str) -> None:
    if rest == "shortcuts":
        click.echo(columns(_SHORTCUTS))
        return
    rows = [(f"{name} {command.usage}", command.help) for name, command in COMMANDS.items()]
    click.echo(columns(rows))
    click.echo('\nA message of several lines stands between """ and """.  /? shortcuts: keys')


_SHORTCUTS = (
    ("Ctrl-C", "stop the answer; at the prompt: discard the line"),
    ("Ctrl-D", "leave"),
    ("Tab", "complete a command or a file's name"),
    ("Up, Down", "earlier messages"),
    ("Ctrl-R", "search earlier messages"),
    ("Alt-Enter", "begin a new line"),
)


def _bye(_: Session, rest: str) -> None:
    _nothing_after("/bye", rest)
    raise LeaveError


def _nothing_after(command: str, rest: str) -> None:
    if rest:
        raise RequestError(f"`{command}` takes nothing after it, not `{rest}`")


COMMANDS: dict[str, Command] = {
    "/set": Command(
        _set,
        "parameter NAME VALUE | system TEXT | verbose | quiet | history | nohistory"
        " | markdown | raw",
        "change how answers are made and shown",
    ),
    "/show": Command(
        _show, "info | parameters | system | template | license", "print what is known"
    ),
    "/system": Command(_system, "[TEXT]", "print or set the system text"),
    "/clear": Command(_clear, "", "forget the conversation"),
    "/save": Command(_save, "FILE", "write the conversation to a file"),
    "/load": Command(_load, "FILE | MODEL", "go on with a saved conversation, or another model"),
    "/bye": Command(_bye, "", "leave"),
    "/?": Command(_help, "[shortcuts]", "print this"),
}
"""The commands by their names."""

_ALIASES = {"/help": "/?", "/exit": "/bye", "/quit": "/bye"}


def completions() -> dict[str, Any]:
    """What may follow each command, for completion: nested words, None where anything may."""
    words = ("default",)
    return {
        "/set": {
            "parameter": {name: dict.fromkeys(words) for name in SAMPLING},
            "system": None,
            **dict.fromkeys(_SWITCHES),
        },
        "/show": dict.fromkeys(_SHOWS),
        "/?": {"shortcuts": None},
        **dict.fromkeys(("/system", "/clear", "/bye", "/help")),
    }
