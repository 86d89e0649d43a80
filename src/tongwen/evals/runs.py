"""A run as it lies on the disk: a receipt, and the samples beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tongwen.errors import RequestError
from tongwen.evals.journal import read_records
from tongwen.evals.receipt import Receipt, file_digest, read_receipt
from tongwen.evals.record import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A benchmark that was run, read from its files."""

    path: Path
    """Where the receipt lies."""

    receipt: Receipt
    records: list[Record] = field(repr=False)
    is_whole: bool = True
    """Whether the samples are those that the receipt was written for."""

    @property
    def graded(self) -> list[Record]:
        """Samples that did not fail."""
        return [record for record in self.records if record.failed is None]


def read_run(path: Path, *, must_be_whole: bool = True) -> Run:
    """A receipt with its samples.

    Args:
        path: Of the receipt.
        must_be_whole: Refuse samples whose digest is not the receipt's.

    Raises:
        RequestError: Something is not there, is damaged, or was changed since.
    """
    receipt = read_receipt(path)
    beside = samples_path(path, receipt)
    is_whole = file_digest(beside) == receipt.samples_sha256
    if must_be_whole and not is_whole:
        raise RequestError(f"`{beside}` was changed after `{path.name}` was written for it")
    return Run(path=path, receipt=receipt, records=read_records(beside), is_whole=is_whole)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Receipts, each with its samples.

    Raises:
        RequestError: Something is not there, is damaged, or was changed since.
    """
    return [read_run(path) for path in paths]


def samples_path(path: Path, receipt: Receipt) -> Path:
    """The file of a receipt's samples, which lies beside it and nowhere else.

    Raises:
        RequestError: The receipt names another place.
    """
    name = receipt.samples_file
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise RequestError(f"`{path}` names a file of samples that is not beside it: `{name}`")
    return path.parent / name


def score_of(record: Record) -> float:
    """The mean over a sample's completions."""
    return sum(grade.score for grade in record.grades) / len(record.grades)
