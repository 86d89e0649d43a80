"""A program to be run: its command, its files, its input, its bounds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tongwen.errors import ConfigError
from tongwen.judge.limits import Limits

_NAME = re.compile(r"(?!\.{1,2}(/|$))[\w.+-]+(/(?!\.{1,2}(/|$))[\w.+-]+)*", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What to run in a sandbox."""

    argv: Sequence[str]
    """The command; its program is looked for as the sandbox sees the file system."""

    files: Mapping[str, str] = field(default_factory=dict)
    """Name, below the working directory, and text of each file that is laid there."""

    stdin: bytes = b""
    """What it can read."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Environment beside the few names that every program gets."""

    folders: Mapping[str, str] = field(default_factory=dict)
    """Folders of this machine that it may read: from where it sees them to where they are."""

    limits: Limits = field(default_factory=Limits)
    """What it may use."""

    def __post_init__(self) -> None:
        for name in self.files:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"`{name}` cannot be the name of a program's file",
                    hint="give letters, digits, `_.+-`, and `/` for folders below its own",
                )
        if not self.argv or any("\0" in word for word in self.argv):
            raise ConfigError("a command needs one word at least, and none with a zero byte")
