"""Benchmarks in several languages: each in files of its own, those that are there are run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tongwen.errors import RequestError
from tongwen.judge.benchmarks import Benchmarks

Row = Mapping[str, Any]


def rows_there(
    data: Benchmarks, files: Mapping[str, Sequence[str]], hint: str
) -> dict[str, list[Row]]:
    """The rows of each language (or subject) that has data.

    Args:
        data: Where files lie.
        files: By language the names that its file may have.
        hint: Where to get them.

    Raises:
        RequestError: None has, or a file is damaged.
    """
    found: dict[str, list[Row]] = {
        language: list(data.rows(*names))
        for language, names in files.items()
        if data.find(names) is not None
    }
    if not found:
        some = next(iter(files.values()))[0]
        raise RequestError(f"no file of the benchmark is there, such as `{some}`", hint=hint)
    return found


def absent(all_of_them: Iterable[str], there: Iterable[str]) -> tuple[str, ...]:
    """Languages that are not run, for want of data."""
    found = set(there)
    return tuple(language for language in all_of_them if language not in found)
