"""Symbolic equality in a process of its own, which may hang or burst without harm to this one."""

import json
import os
import select
import subprocess
import sys
import threading
import time
from types import TracebackType

from tongwen.errors import CapacityError, TongwenError
from tongwen.judge.extra import library

MAX_LENGTH = 1000
"""Formulas with more characters than this are not looked at."""

START_S = 60.0
"""How long the child may take to load sympy."""


class UndecidedError(TongwenError):
    """Formulas too long, or too hard for the time and the memory that they were given."""


class Symbolic:
    """Asks one child process, started on first use and again whenever it died or was stopped.

    The child has an end to its memory and to its processor time, starts no process, writes no
    file and evaluates no text as code.

    Args:
        time_limit_s: Wall-clock seconds for one pair.
        max_bytes: Address space of the child.
    """

    def __init__(self, *, time_limit_s: float = 20.0, max_bytes: int = 2 << 30) -> None:
        self._time_limit_s, self._max_bytes = time_limit_s, max_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def equal(self, left: str, right: str) -> bool:
        """Whether the LaTeX formulas `left` and `right` are equal.

        Raises:
            UndecidedError: It cannot be told in time.
            DependencyError: A library of the extra `eval` is missing.
            CapacityError: The child does not come up.
        """
        return self._ask([left, right]) == "true"

    def value(self, formula: str) -> float | None:
        """The real number that the LaTeX `formula` comes to; None where it is none.

        Raises:
            UndecidedError: It cannot be told in time.
            DependencyError: A library of the extra `eval` is missing.
            CapacityError: The child does not come up.
        """
        answer = self._ask([formula])
        return None if answer == "null" else float(answer)

    def close(self) -> None:
        """Stop the child, if there is one."""
        with self._lock:
            self._stop()

    def __enter__(self) -> "Symbolic":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, formulas: list[str]) -> str:
        longest = max(map(len, formulas))
        if longest > MAX_LENGTH:
            raise UndecidedError(f"a formula of {longest} characters, more than {MAX_LENGTH}")
        with self._lock:
            answer = self._exchange(json.dumps(formulas))
        if answer is None:
            raise UndecidedError(
                f"not told within {self._time_limit_s:.0f} s and {self._max_bytes >> 20} MiB: "
                f"{formulas!r:.160}"
            )
        return answer

    def _exchange(self, line: str) -> str | None:
        child = self._running()
        try:
            os.write(child.stdin.fileno(), line.encode() + b"\n")  # type: ignore[union-attr]
            answer = read_line(child, self._time_limit_s)
        except BrokenPipeError:
            answer = None
        if answer is None:
            self._stop()
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._stop()
        for name in ("sympy", "math_verify", "latex2sympy2_extended"):
            library(name)
        self._child = self._started()
        if read_line(self._child, START_S) != "ready":
            self._stop()
            raise CapacityError(
                f"the process for symbolic comparison did not start in {START_S:.0f} s",
                hint=f"it needs up to {self._max_bytes >> 20} MiB of address space",
            )
        return self._child

    def _started(self) -> subprocess.Popen[bytes]:
        seconds = int(self._time_limit_s) + 2
        module = "tongwen.judge.symbolic_worker"
        return subprocess.Popen(
            # -P: no module is taken from the working directory.
            [sys.executable, "-P", "-m", module, str(self._max_bytes), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()


def read_line(child: subprocess.Popen[bytes], seconds: float) -> str | None:
    """The next line that `child` writes, or None where it ends or is silent for `seconds`."""
    assert child.stdout is not None, "the child was started with a pipe"
    end, line = time.monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, end - time.monotonic()))
        piece = os.read(child.stdout.fileno(), 4096) if ready else b""
        if not piece:
            return None
        line += piece
    return line.decode().strip()
