"""Sandboxes of both kinds; where one cannot be made, its tests say so."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
from tests.conftest import sandbox_of

from tongwen.judge import host
from tongwen.judge.limits import Limits
from tongwen.judge.outcome import Outcome
from tongwen.judge.program import Program
from tongwen.judge.sandbox import Sandbox

Attack = Callable[..., Outcome]


@pytest.fixture(scope="session", params=["bubblewrap", "namespaces"])
def either(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Each kind."""
    with sandbox_of(request.param) as found:
        yield found


@pytest.fixture
def attack(either: Sandbox) -> Iterator[Attack]:
    """Runs Python in a sandbox of each kind; nothing of it may be left afterwards."""
    mine = {child.pid for child in psutil.Process().children(recursive=True)}
    files, folders = len(os.listdir("/proc/self/fd")), set(os.listdir("/tmp"))

    def run(source: str, *, stdin: bytes = b"", wall_s: float = 5, **limits: Any) -> Outcome:
        python = host.interpreter()
        return either.run(
            Program(
                argv=[*python.argv, "main.py"],
                files={"main.py": source},
                stdin=stdin,
                env=python.env,
                limits=replace(Limits(wall_s=float(wall_s)), **limits),
            )
        )

    yield run
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= mine
    assert len(os.listdir("/proc/self/fd")) == files
    assert not {name for name in set(os.listdir("/tmp")) - folders if "sandbox" in name}
