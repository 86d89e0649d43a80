"""What a line that begins with a slash does in a conversation."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click

from tongwen.cli.conversation import load_conversation
from tongwen.cli.figures import columns, parameters, size
from tongwen.cli.sampling import SAMPLING
from tongwen.cli.session import Session
from tongwen.cli.terminal import say, visible
from tongwen.engine.params import params_from
from tongwen.errors import RequestError
from tongwen.model.account import count_parameters

Words = dict[str, "Words"]


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    run: Callable[[Session, str], None]
    """Does it, given what follows its name."""

    usages: dict[str, str]
    """What may follow its name, and what it does then."""

    follows: Words = field(default_factory=dict)
    """Words that may follow its name, for completion; and after each those that may follow it."""


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
        raise _unknown("setting", what or "(none)", ("parameter", "system", *_SWITCHES))


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
        ("licence", session.licence),
    ]
    click.echo(columns(rows))


def _show_parameters(session: Session) -> None:
    params, defaults = session.params(), session.llm.generation
    sampling = params.resolve(defaults, seed=0)
    rows = [("parameter", "value", "from")]
    for name in SAMPLING:
        if name in session.settings:
            value, source = session.settings[name], "you"
        elif name in _FREE:
            value, source = _FREE[name], "default"
        else:
            is_stated = name in _FROM_CHECKPOINT
            value, source = getattr(sampling, name), "checkpoint" if is_stated else "default"
        rows.append((name, str(value), source))
    click.echo(columns(rows))


_FREE = {"seed": "a new one each time", "max_tokens": "what the context leaves", "stop": "none"}
_FROM_CHECKPOINT = ("temperature", "top_p", "top_k", "repetition_penalty")


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
    repo = session.local.repo
    click.echo(f"{visible(session.licence)}{f'   (its text: {repo})' if repo else ''}")


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
        usage = next(iter(COMMANDS[command].usages))
        raise RequestError(f"`{command}` needs a name", hint=f"{command} {usage}")
    return Path(rest).expanduser()


def _help(_: Session, rest: str) -> None:
    if rest == "shortcuts":
        click.echo(columns(_SHORTCUTS))
        return
    rows = [
        (f"{name} {usage}", help)
        for name, command in COMMANDS.items()
        for usage, help in command.usages.items()
    ]
    click.echo(columns([*rows, ('"""', "begins, and ends, a message of several lines")]))


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
        {
            "parameter NAME VALUE": "how tokens are chosen (VALUE `default`: as at first)",
            "system TEXT": "what the model is told before all",
            "verbose | quiet": "say what each answer took, or not",
            "history | nohistory": "remember what is asked for the next time, or not",
            "markdown | raw": "show Markdown as styles, or as it is written",
        },
        {
            "parameter": {name: {} for name in SAMPLING},
            "system": {},
            **{switch: {} for switch in _SWITCHES},
        },
    ),
    "/show": Command(
        _show,
        {"info | parameters | system | template | license": "print what is known"},
        {subject: {} for subject in _SHOWS},
    ),
    "/system": Command(_system, {"[TEXT]": "print or set the system text"}),
    "/clear": Command(_clear, {"": "begin a new conversation"}),
    "/save": Command(_save, {"FILE": "write the conversation to a file"}),
    "/load": Command(_load, {"FILE | MODEL": "go on with a saved one, or with another model"}),
    "/bye": Command(_bye, {"": "leave"}),
    "/?": Command(_help, {"[shortcuts]": "print this, or what keys do"}, {"shortcuts": {}}),
}
"""The commands by their names."""

_ALIASES = {"/help": "/?", "/exit": "/bye", "/quit": "/bye"}
