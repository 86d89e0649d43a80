"""A conversation on a terminal: read, answer, again."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output, create_output

from tongwen.cli.answer import Stoppable
from tongwen.cli.commands import COMMANDS, LeaveError, Words, run_command, unquoted
from tongwen.cli.main import report
from tongwen.cli.session import Session
from tongwen.cli.terminal import say
from tongwen.errors import TongwenError

_QUOTES = '"""'
_PROMPT, _MORE = ">>> ", "... "


class History(FileHistory):
    """Earlier messages, in a file that only its owner reads; may be told to forget."""

    def __init__(self, path: Path, session: Session) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND, 0o600))
        super().__init__(str(path))
        self.session = session

    def store_string(self, string: str) -> None:
        """Write a message to the file, unless history is off."""
        if self.session.keeps_history:
            super().store_string(string)


class Commands(Completer):
    """Completes commands and what may follow them."""

    def __init__(self) -> None:
        self.words: Words = {name: command.follows for name, command in COMMANDS.items()}
        self.paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Words that may stand where the cursor is; none in a message."""
        text = document.text_before_cursor
        *before, begun = text.split(" ")
        if before[:1] in (["/save"], ["/load"]):
            return self.paths.get_completions(Document(text.partition(" ")[2]), complete_event)
        words = self.words
        for word in before:
            words = words.get(word, {})
        found = [word for word in words if text.startswith("/") and word.startswith(begun)]
        return [Completion(word, start_position=-len(begun)) for word in found]


def converse(session: Session, home: Path) -> None:
    """Answer what is typed until there is nothing more.

    Args:
        session: The model and how it is to answer.
        home: Where the history is kept.
    """
    session.begin()
    say(f"{session.local.name}, {session.llm.context} tokens of context; /? helps, Ctrl-D leaves")
    reader = _reader(session, home)
    while True:
        try:
            if (text := _read(reader)).strip():
                _respond(session, text)
        except KeyboardInterrupt:
            say("(Ctrl-D or /bye leaves)")
        except (EOFError, LeaveError):
            return
        except (TongwenError, OSError) as error:
            report(error)


def _respond(session: Session, text: str) -> None:
    if text.startswith("/"):
        run_command(session, text)
        return
    try:
        with Stoppable() as stoppable:
            answer = session.ask(unquoted(text), stoppable)
    except KeyboardInterrupt:
        say("(stopped before the answer began; the question is withdrawn)")
        return
    session.remark(answer)


def _read(reader: "PromptSession[str]") -> str:
    r"""One message: a line, or what stands between triple quotes."""
    text = reader.prompt(_PROMPT)
    while _is_open(text):
        text += "\n" + reader.prompt(_MORE)
    return text


def _is_open(text: str) -> bool:
    """Whether a message begins with triple quotes that are not closed yet.

    Quotes elsewhere are part of the text: of a program that was pasted, say.
    """
    body = text.lstrip()
    for opening in ("/set system", "/system"):
        body = body.removeprefix(opening).lstrip()
    closed = len(body.rstrip()) >= 2 * len(_QUOTES) and body.rstrip().endswith(_QUOTES)
    return body.startswith(_QUOTES) and not closed


def _reader(session: Session, home: Path) -> "PromptSession[str]":
    return PromptSession(
        history=History(home / "history", session),
        completer=Commands(),
        complete_while_typing=False,
        enable_history_search=True,
        key_bindings=_keys(),
        output=_output(),
    )


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _output() -> Output:
    """The terminal, whichever stream still leads there."""
    return create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr)
