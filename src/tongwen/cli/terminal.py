"""What the verbs need to know of a terminal: is there one, and what must not reach it."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator

import click

# All control characters but tab, newline and carriage return: C0, DEL, C1.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """`text` with control characters spelled out, so that printing it only prints it.

    Carriage returns are left out: at the end of a line they say nothing.
    A model, a file or a hub may write any character; an escape sequence could retitle a window,
    move the cursor over what was said, or have the terminal type a command.
    """
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r", ""))


def say(message: str) -> None:
    """Print a line that is no answer: on stderr."""
    click.echo(visible(message), err=True)


def print_json(value: object) -> None:
    """Print one JSON object on a line of stdout, as UTF-8 whatever the terminal's encoding is."""
    click.echo(json.dumps(value, ensure_ascii=False).encode())


def can_ask() -> bool:
    """Whether there is somebody to answer a question."""
    streams = (sys.stdin, sys.stderr)
    return all(stream is not None and stream.isatty() for stream in streams)


@contextlib.contextmanager
def status(message: str) -> Iterator[None]:
    """Show what is going on for as long as it does; on a terminal only."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    sys.stderr.write(f"{visible(message)} ...")
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
