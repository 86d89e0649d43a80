"""Isolation by the kernel's namespaces, made by a small program of this package.

For machines without bubblewrap.  The same view, bounds and refused calls; what makes it is
`launcher.py`, in a process of its own.
"""

import json
import os
import sys
from pathlib import Path

from tongwen.judge import host
from tongwen.judge.bubblewrap import HandFile
from tongwen.judge.program import Program
from tongwen.judge.seccomp import seccomp_filter

_LAUNCHER = Path(__file__).with_name("launcher.py")


def command(program: Program, *, uid: int | None, status: int, hand: HandFile) -> list[str]:
    """The command that runs a program in a sandbox.

    Args:
        program: What to run.
        uid: The user to become, asked by root; `None` for everybody else.
        status: Descriptor that the first process of the sandbox is told on, and how it ended.
        hand: Hands bytes over as a file.
    """
    view = host.view(program.folders)
    config = {
        "uid": uid,
        "argv": list(program.argv),
        "env": host.ENVIRONMENT | dict(program.env),
        "files": dict(program.files),
        "parents": view.parents,
        "folders": view.folders,
        "links": view.links,
        "hidden": view.hidden,
        "workplace": host.WORKPLACE,
        "disk_bytes": program.limits.disk_bytes,
        "num_files": program.limits.num_files,
        "rlimits": program.limits.rlimits,
        "filter": (seccomp_filter() or b"").hex(),
    }
    python, options = os.path.realpath(sys.executable), ("-I", "-S", "-X", "utf8")
    given = str(hand(json.dumps(config).encode()))
    return [python, *options, str(_LAUNCHER), given, str(status)]
