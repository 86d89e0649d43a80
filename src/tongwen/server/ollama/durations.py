"""Times as Ollama writes them: `keep_alive` in, nanoseconds and dates out."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0} | {
    "h": 3600.0
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")
_NUMBER = re.compile(r"[+-]?\d{1,18}(?:\.\d+)?")
_CENTURY_S = 100 * 365.25 * 86_400


def keep_alive_s(given: object) -> object:
    """Seconds of a `keep_alive`: a number, or a text such as `5m`, `1h30m`, `-1`.

    Negative means for ever, and is -1.

    Raises:
        ValueError: It is neither.
    """
    if given is None:
        return None
    seconds = _seconds(given)
    return -1.0 if seconds < 0 else min(seconds, _CENTURY_S)


def _seconds(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError("`keep_alive` is seconds, or a text such as `5m`")
    if not isinstance(given, str):
        return float(given)
    text = given.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _WHOLE.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise ValueError(f"`keep_alive` is seconds, or a text such as `5m`, not `{text[:32]}`")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(match[2]))
    return -total if match[1] == "-" else total


def nanoseconds(seconds: float) -> int:
    """Seconds as Ollama's durations."""
    return round(max(seconds, 0.0) * 1e9)


def written(moment: datetime) -> str:
    """A moment in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def now() -> str:
    """The present."""
    return written(datetime.now(UTC))


def in_seconds(seconds: float) -> str:
    """The moment so many seconds from now; infinite: in a hundred years."""
    return written(datetime.now(UTC) + timedelta(seconds=min(seconds, _CENTURY_S)))
