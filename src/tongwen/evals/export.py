"""Runs in the files of other harnesses, for tools that read those."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tongwen.errors import RequestError
from tongwen.evals.export_lm_eval import write_lm_eval
from tongwen.evals.export_opencompass import write_opencompass
from tongwen.evals.runs import Run

Write = Callable[[Sequence[Run], Path, datetime], list[Path]]

FORMATS: Mapping[str, Write] = {"lm-eval": write_lm_eval, "opencompass": write_opencompass}


def export(
    runs: Sequence[Run], name: str, directory: Path, *, when: datetime | None = None
) -> list[Path]:
    """Write runs as another harness does.

    Args:
        runs: What was measured; no model twice on one benchmark.
        name: Of the format: `lm-eval` or `opencompass`.
        directory: Where; it is made.
        when: What the files' names say; `None`: now.

    Returns:
        The files that were written.

    Raises:
        RequestError: There is no such format, or two runs would be one there.
    """
    if name not in FORMATS:
        raise RequestError(
            f"no format is called `{name}`", hint=f"there are {' and '.join(FORMATS)}"
        )
    seen: set[tuple[str, str]] = set()
    for run in runs:
        key = (run.receipt.subject.name, run.receipt.settings.task)
        if key in seen:
            raise RequestError(
                f"two runs are of `{key[0]}` on `{key[1]}`, and `{name}` has room for one",
                hint="export them into directories of their own",
            )
        seen.add(key)
    return FORMATS[name](runs, directory, when or datetime.now().astimezone())
