"""The program as somebody uses it: started with arguments, or talked to on a terminal."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>()][A-Z0-9]?")


class Terminal:
    """The program on a pseudo-terminal, typed at and read from."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process, self.master = process, master
        self.seen = ""

    @property
    def text(self) -> str:
        """All that was shown, without colours and moves of the cursor."""
        return _ESCAPES.sub("", self.seen).replace("\r", "")

    def type(self, text: str) -> None:
        """Press keys; a newline is the Enter key."""
        os.write(self.master, text.replace("\n", "\r").encode())

    def expect(self, pattern: str, timeout_s: float = 30) -> str:
        """Wait until `pattern` is shown; what was shown up to its end, which then is forgotten."""
        deadline = time.monotonic() + timeout_s
        while (match := re.search(pattern, self.text)) is None:
            left = deadline - time.monotonic()
            if left < 0 or not self._read(left):
                raise AssertionError(f"{pattern!r} was not shown in {self.text!r}")
        before, self.seen = self.text[: match.end()], self.text[match.end() :]
        return before

    def end(self, timeout_s: float = 30) -> int:
        """Read until the program ends; its exit status."""
        while self._read(timeout_s):
            pass
        return self.process.wait(timeout_s)

    def interrupt(self) -> None:
        """What the terminal does when Ctrl-C is pressed."""
        self.process.send_signal(signal.SIGINT)

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], timeout_s)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # the other end is closed
            return False
        self.seen += data.decode("utf-8", errors="replace")
        return bool(data)


@contextlib.contextmanager
def on_terminal(
    *arguments: str, environ: Mapping[str, str], cwd: Path, columns: int = 100
) -> Iterator[Terminal]:
    """Start the program on a pseudo-terminal of its own; it is ended on leaving."""
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "tongwen", *arguments],
        env=dict(environ),
        cwd=cwd,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
