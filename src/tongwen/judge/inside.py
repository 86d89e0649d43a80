"""Runs Python of strangers and tells what came of it; inside a sandbox, alone.

    python inside.py asserts|outputs|script < GIVEN

Nothing of this package can be imported there: this file is laid beside the program.  GIVEN is one
JSON object.

* asserts: run `source`, tests and all; write `token` when its last line is done.  The token is
  known to nobody before, so to print, to exit, or to be silent does not pass for success.  Tests
  and program share this process, as the benchmark wants it: whoever searches its frames for the
  token on purpose finds it.
* outputs: run `source`, call `entry_point` on each of `inputs`, write a line for each.  What is
  right is not known here at all.
* script: run `source` as a script on `stdin`.

Before the last two a `header`, if any, is run for its names.
"""

import builtins
import io
import json
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterable
from typing import Any, Never, NoReturn

_LARGEST = 1 << 53
_DEEPEST, _MOST = 64, 1 << 20


Value = Any
"""A plain value, or JSON."""


class OpaqueError(ValueError):
    """A value of a kind that is not compared."""


def encode(value: Value) -> Value:
    """A plain value as JSON that says of what type it is.

    Raises:
        OpaqueError: It is, or holds, an object of another kind, is nested too deeply or too large.
    """
    return _Encoder().encode(value, _DEEPEST)


class _Encoder:
    """Counts what one value holds."""

    def __init__(self) -> None:
        self._left = _MOST

    def encode(self, value: Value, depth: int) -> Value:
        self._left -= 1
        if self._left < 0 or depth < 0:
            raise OpaqueError(f"{type(value).__name__} too large")
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, str):
            self._left -= len(value) // 16
            return str(value)
        if isinstance(value, int):
            return int(value) if abs(value) < _LARGEST else {"int": hex(value)}
        if isinstance(value, dict):
            return {"dict": [self._all(pair, depth) for pair in value.items()]}
        for kind in (list, tuple, set, frozenset):
            if isinstance(value, kind):
                items = self._all(value, depth)
                return items if kind is list else {kind.__name__: items}
        return _rarer(value)

    def _all(self, values: Iterable[Any], depth: int) -> list[Any]:
        return [self.encode(each, depth - 1) for each in values]


def _rarer(value: object) -> dict[str, Any]:
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    raise OpaqueError(type(value).__name__)


def decode(value: Value) -> Value:
    """The plain value that `encode` made this of.

    Raises:
        ValueError: It is not of `encode`'s making.
    """
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "dict":
        return {decode(key): decode(each) for key, each in held}
    makers: dict[str, Callable[[Any], Any]] = {
        "int": lambda text: int(text, 16),
        "complex": lambda parts: complex(*parts),
        "bytes": bytes.fromhex,
        "tuple": lambda items: tuple(map(decode, items)),
        "set": lambda items: set(map(decode, items)),
        "frozenset": lambda items: frozenset(map(decode, items)),
    }
    if kind not in makers:
        raise ValueError(f"`{kind}` is no kind of value")
    return makers[kind](held)


class _TooLong(BaseException):
    """No `except Exception` of a stranger's catches it."""


def _run(source: str, name: str, header: str = "") -> dict[str, Any]:
    """Run a module's text behind a header of its own lines; its namespace."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    for text in (header, source):
        exec(compile(text, "program.py", "exec"), module.__dict__)
    return module.__dict__


def _forget_stdin() -> None:
    """Make what was given unreadable: it lies in a file, which could be read again."""
    _read_from(os.open(os.devnull, os.O_RDONLY))


def _read_from(place: int) -> None:
    """Let standard input be an open file, whether read by its number or by its name."""
    os.dup2(place, 0)
    os.close(place)
    stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc]


def _file_of(data: bytes) -> int:
    """An open file without a name that holds these bytes."""
    place = os.open("stdin", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink("stdin")
    _write_all(os.write, place, data)
    os.lseek(place, 0, os.SEEK_SET)
    return place


def _asserts(given: dict[str, Any]) -> Never:
    told = os.dup(1)
    _run(given["source"], "program")
    os.write(told, given["token"].encode())
    os._exit(0)


def _outputs(given: dict[str, Any]) -> Never:
    told, silent = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    write, pause, clock = os.write, signal.setitimer, time.perf_counter
    signal.signal(signal.SIGALRM, _alarm)
    module = _run(given["source"], "program", given.get("header", ""))
    function = module[given["entry_point"]]
    for encoded, limit_s in zip(given["inputs"], given["limits_s"], strict=True):
        line: dict[str, Any] = {}
        arguments, started = decode(encoded), clock()
        try:
            try:
                pause(signal.ITIMER_REAL, limit_s)
                value = function(*arguments)
                line["seconds"] = clock() - started
                line["value"] = encode(value)
            finally:
                pause(signal.ITIMER_REAL, 0)
        except _TooLong:
            line = {"error": "timed out"}
        except OpaqueError as error:
            line = {"opaque": str(error)}
        except BaseException as error:
            line = {"error": f"{type(error).__name__}: {error}"[:200]}
        _write_all(write, told, json.dumps(line).encode() + b"\n")
    os._exit(0)


def _write_all(write: Callable[[int, bytes], int], place: int, data: bytes) -> None:
    while data:
        data = data[write(place, data) :]


def _script(given: dict[str, Any]) -> None:
    _read_from(_file_of(given["stdin"].encode()))
    sys.argv = ["program.py"]
    _run(given["source"], "__main__", given.get("header", ""))


def _alarm(*_: object) -> NoReturn:
    raise _TooLong


def _main() -> None:
    given = json.load(sys.stdin)
    _forget_stdin()
    {"asserts": _asserts, "outputs": _outputs, "script": _script}[sys.argv[1]](given)


if __name__ == "__main__":
    for _name in ("exit", "quit"):
        setattr(builtins, _name, sys.exit)
    _main()
