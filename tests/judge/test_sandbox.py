"""What a sandbox is for those who use it: run, wait, cancel, many at a time."""

import asyncio
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tongwen.errors import ConfigError, SandboxError
from tongwen.judge import bubblewrap, host
from tongwen.judge.limits import Limits
from tongwen.judge.program import Program
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.watch import held

SLEEP = Program(argv=["sleep", "30"], limits=Limits(wall_s=20.0))


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_a_program_gets_its_files_its_input_and_what_it_was_given(either: Sandbox) -> None:
    outcome = either.run(
        Program(
            argv=["sh", "-c", "cat; cat a/b.txt; printf '%s' \"$WORD\"; pwd >&2; exit 3"],
            files={"a/b.txt": "file "},
            stdin=b"input ",
            env={"WORD": "word"},
        )
    )
    assert (outcome.status, outcome.text) == (3, "input file word")
    assert outcome.stderr == b"/tmp\n"
    assert (outcome.ended_by, outcome.is_truncated, outcome.is_success) == ("exit", False, False)


def test_a_signal_is_told_as_shells_tell_it(either: Sandbox) -> None:
    assert either.run(Program(argv=["sh", "-c", "kill -ABRT $$"])).status == 128 + 6


def test_what_does_not_exist_cannot_be_run_and_says_so(either: Sandbox) -> None:
    outcome = either.run(Program(argv=["no-such-program"]))
    assert not outcome.is_success
    assert b"no-such-program" in outcome.stderr


def test_a_program_may_write_into_its_folder_and_change_its_files(either: Sandbox) -> None:
    outcome = either.run(
        Program(
            argv=["sh", "-c", "echo new > a && rm d/b && echo c > d/c && cat a d/c"],
            files={"a": "old", "d/b": "old"},
        )
    )
    assert outcome.text == "new\nc\n"


def test_names_of_files_cannot_lead_outside() -> None:
    for name in ("../a", "/a", "a/../b", "a//b", "", ".", "a\n"):
        with pytest.raises(ConfigError, match="name of a program's file"):
            Program(argv=["true"], files={name: ""})
    with pytest.raises(ConfigError, match="wall_s"):
        Limits(wall_s=0.0)


def test_eight_run_at_a_time_and_the_ninth_waits() -> None:
    async def all_of_them(sandbox: Sandbox, count: int) -> float:
        started = time.monotonic()
        nap = Program(argv=["sleep", "0.5"])
        outcomes = await asyncio.gather(*(sandbox.arun(nap) for _ in range(count)))
        assert all(outcome.is_success for outcome in outcomes)
        return time.monotonic() - started

    with Sandbox(slots=8) as sandbox:
        assert asyncio.run(all_of_them(sandbox, 8)) < 1.0
        assert asyncio.run(all_of_them(sandbox, 9)) >= 1.0


def test_cancelling_ends_the_program_and_those_that_wait(either: Sandbox) -> None:
    async def cancel_soon() -> None:
        waiting = [asyncio.create_task(either.arun(SLEEP)) for _ in range(6)]
        await asyncio.sleep(0.3)
        assert children()
        for task in waiting:
            task.cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in done)

    started = time.monotonic()
    asyncio.run(cancel_soon())
    assert time.monotonic() - started < 5
    assert children() == []


def test_it_works_from_any_thread_and_in_several_loops(sandbox: Sandbox) -> None:
    seen: list[str] = []

    def one() -> None:
        seen.append(asyncio.run(sandbox.arun(Program(argv=["echo", "here"]))).text)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["here\n"] * 4


def test_a_process_that_is_killed_takes_its_sandboxes_with_it(either: Sandbox) -> None:
    script = (
        "from tongwen.judge.sandbox import Sandbox\n"
        "from tongwen.judge.program import Program\n"
        f"Sandbox({either.kind!r}).run(Program(argv=['sleep', '29.125']))\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline = time.monotonic() + 10
        while not _sleepers() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _sleepers()
    finally:
        owner.kill()
        owner.wait()
    deadline = time.monotonic() + 5
    while _sleepers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _sleepers() == []


def _sleepers() -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[:2] == ["sleep", "29.125"]:
            found.append(process.pid)
    return found


def test_where_no_isolation_is_to_be_had_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'no namespaces for you' >&2\nexit 1\n", encoding="ascii")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(bubblewrap, "find", lambda: str(broken))
    with pytest.raises(SandboxError, match="no namespaces for you") as caught:
        Sandbox("bubblewrap")
    assert "bubblewrap" in (caught.value.hint or "")


def test_the_interpreter_of_a_program_has_no_packages(either: Sandbox) -> None:
    python = host.interpreter()
    source = "import sys, os; print(sys.version_info[:2]); import pytest"
    outcome = either.run(Program(argv=[*python.argv, "-c", source], env=python.env))
    assert outcome.text == f"{sys.version_info[:2]}\n"
    assert outcome.complaint == "ModuleNotFoundError: No module named 'pytest'"


def test_hashes_are_the_same_each_time(either: Sandbox) -> None:
    python = host.interpreter()
    program = Program(argv=[*python.argv, "-c", "print(hash('tongwen'))"], env=python.env)
    assert either.run(program).text == either.run(program).text


@pytest.mark.skipif(os.geteuid() == 0, reason="run by root, each program is a user of its own")
def test_a_user_gets_a_sandbox_without_being_root(either: Sandbox) -> None:
    assert either.run(Program(argv=["id", "-u"])).text == "65534\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_run_by_root_each_program_is_a_user_of_its_own(either: Sandbox) -> None:
    users = {either.run(Program(argv=["id", "-u"])).text for _ in range(3)}
    assert len(users) == 3
    assert "0\n" not in users


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_whoever_is_not_root_gets_the_same_isolation(either: Sandbox) -> None:
    """Everything that a user of no rights needs is copied to where one can read it."""
    system = Path("/usr/bin/python3")
    version = "import sys; print(sys.version_info >= (3, 11))"
    if not system.exists() or _asked(system, version) != "True\n":
        pytest.skip("a system without a Python of its own that this package runs on")
    script = (
        "import sys\n"
        f"sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "from tongwen.judge.sandbox import Sandbox\n"
        "from tongwen.judge.program import Program\n"
        f"with Sandbox({either.kind!r}) as sandbox:\n"
        "    outcome = sandbox.run(Program(argv=['sh', '-c', 'id -u; ls -A /root /home; env']))\n"
        "print(outcome.text)\n"
    )
    readable = subprocess.run(
        [
            *_AS_ANYBODY,
            system,
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}; import psutil, tongwen",
        ],
        capture_output=True,
        check=False,
    )
    if readable.returncode != 0:
        pytest.skip("the package lies where nobody but root reads it")
    asked = subprocess.run(
        [*_AS_ANYBODY, system, "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    assert asked.stdout.startswith("65534\n")
    assert "PATH=" in asked.stdout


_AS_ANYBODY = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--bounding-set=-all"]


def _asked(python: Path, source: str) -> str:
    return subprocess.run([python, "-c", source], capture_output=True, text=True, check=True).stdout


def test_a_sandbox_that_is_not_made_yet_is_not_held_to_this_machines_files() -> None:
    """Its first process sees our file systems until it has its own; a busy machine shows it so."""
    assert held(os.getpid(), Limits(num_files=1)) is None
