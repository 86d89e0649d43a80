"""What a sandbox costs over running the same program without one.

    python benchmarks/sandbox_overhead.py

A program that does nothing, from start to end, in a sandbox of each kind and bare; and how many a
second when every processor has one.
"""

import asyncio
import os
import subprocess
import sys
from functools import partial

from harness import Values, alternate, parser, print_line, seconds

from tongwen.errors import SandboxError
from tongwen.judge import host
from tongwen.judge.program import Program
from tongwen.judge.sandbox import Kind, Sandbox

PROGRAMS = 20
"""Programs in one round, one after another, and as many at a time as there are processors."""

BARE = [os.path.realpath(sys.executable), "-S", "-s", "-c", "pass"]


def program() -> Program:
    """Python that does nothing."""
    python = host.interpreter()
    return Program(argv=[*python.argv, "-c", "pass"], env=python.env)


def bare() -> Values:
    """Without a sandbox."""
    taken_s = [seconds(partial(subprocess.run, BARE, check=True)) for _ in range(PROGRAMS)]
    return {"one": 1000 * min(taken_s), "mean": 1000 * sum(taken_s) / PROGRAMS}


def inside(sandbox: Sandbox) -> Values:
    """In one."""

    async def together() -> None:
        await asyncio.gather(*(sandbox.arun(program()) for _ in range(PROGRAMS)))

    taken_s = [seconds(partial(sandbox.run, program())) for _ in range(PROGRAMS)]
    together_s = seconds(lambda: asyncio.run(together()))
    return {
        "one": 1000 * min(taken_s),
        "mean": 1000 * sum(taken_s) / PROGRAMS,
        "together": PROGRAMS / together_s,
    }


def sandboxes() -> dict[Kind, Sandbox]:
    """Each kind that works here; of the others stderr says why not."""
    found: dict[Kind, Sandbox] = {}
    kinds: tuple[Kind, ...] = ("bubblewrap", "namespaces")
    for kind in kinds:
        try:
            found[kind] = Sandbox(kind)
        except SandboxError as error:
            print(error, file=sys.stderr)
    return found


def main() -> None:
    """Measure and print."""
    asked = parser(__doc__ or "").parse_args()
    contenders = {kind: partial(inside, sandbox) for kind, sandbox in sandboxes().items()}
    rounds = alternate({**contenders, "bare": bare}, asked)
    report = partial(print_line, "sandbox_overhead", __doc__ or "", rounds, programs=PROGRAMS)
    report(units={"one": "ms", "mean": "ms"}, contenders=[*contenders, "bare"])
    report(units={"together": "programs/s"}, contenders=list(contenders))


if __name__ == "__main__":
    main()
