"""Sizes, times and columns, as the verbs print them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from tongwen.cli.terminal import visible

_UNITS = ("kB", "MB", "GB", "TB")
_AGES = ((86_400 * 7, "week"), (86_400, "day"), (3600, "hour"), (60, "minute"))


def size(num_bytes: int | float) -> str:
    """Bytes on a disk or a wire, in powers of ten: `491 MB`."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit in _UNITS:
        num_bytes /= 1000
        if num_bytes < 999.5 or unit == _UNITS[-1]:
            break
    return f"{num_bytes:.1f} {unit}" if num_bytes < 9.95 else f"{num_bytes:.0f} {unit}"


def parameters(count: int) -> str:
    """A count of parameters: `494 M`, `7.62 B`."""
    if count < 999_500:
        return f"{count / 1e3:.0f} k"
    return f"{count / 1e9:.2f} B" if count >= 999_500_000 else f"{count / 1e6:.0f} M"


def duration(seconds: int | float) -> str:
    """A time to wait: `8 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ago(moment: datetime | None) -> str:
    """How long ago something was: `2 days ago`."""
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for length, name in _AGES:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' * (count > 1)} ago"
    return "now"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words under each other, the first being the heads."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    )
