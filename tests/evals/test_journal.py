import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.evals.conftest import Measure
from tests.evals.made import failed, ranked, written
from tests.evals.tiny import NUM_ROWS, Tiny

from tongwen.errors import RequestError
from tongwen.evals.journal import Journal, read_records, write_records
from tongwen.evals.question import Answer
from tongwen.evals.record import Record
from tongwen.evals.sample import Grade, Sample

KEY = "of this run"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "run.partial.jsonl"


def keep(path: Path, *records: Record, key: str = KEY) -> None:
    with Journal(path, key) as journal:
        for record in records:
            journal.add(record)


def kept(path: Path, key: str = KEY) -> dict[str, Record]:
    with Journal(path, key) as journal:
        return dict(journal.records)


def test_records_are_there_when_the_journal_is_opened_again(path: Path) -> None:
    records = [written("a", 1.0, "x\u2028y"), ranked("b", 0.25, "law")]
    keep(path, *records)
    assert kept(path) == {"a": records[0], "b": records[1]}


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_last_line_that_was_broken_off_is_cut_away(path: Path, cut: int) -> None:
    keep(path, written("a", 1.0), written("b", 1.0))
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(kept(path)) == ["a"]
    keep(path, written("b", 0.0))
    assert [each.id for each in kept(path).values()] == ["a", "b"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_key_that_was_broken_off_is_written_anew(path: Path) -> None:
    keep(path)
    path.write_bytes(path.read_bytes()[:-3])
    keep(path, written("a", 1.0))
    assert list(kept(path)) == ["a"]


def test_the_journal_of_another_run_is_refused(path: Path) -> None:
    keep(path, written("a", 1.0))
    before = path.read_bytes()
    with pytest.raises(RequestError, match="the journal of another run"):
        kept(path, "of that run")
    assert path.read_bytes() == before


def test_what_failed_is_asked_again_and_the_last_word_counts(path: Path) -> None:
    keep(path, failed("a"), written("b", 1.0))
    assert list(kept(path)) == ["b"]
    keep(path, written("a", 0.5), failed("b"))
    assert list(kept(path)) == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"group": "no id"}',
        '{"id": "a", "grades": [{"parsed": "no score"}]}',
        "[1]",
        '{"id": "a", "score": NaN}',
    ],
)
def test_a_line_that_is_no_record_is_named(path: Path, line: str) -> None:
    keep(path)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RequestError, match=r"damaged|holds what is no record"):
        kept(path)


def test_a_journal_that_is_none_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("[1]\n")
    with pytest.raises(RequestError, match="no object"):
        kept(path)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    records = [ranked("a", 1 / 3), written("b", 0.1 + 0.2, "\x00\u2028\n", why="so"), failed("c")]
    write_records(tmp_path / "x.jsonl", records)
    assert read_records(tmp_path / "x.jsonl") == records
    with pytest.raises(RequestError, match="cannot be read"):
        read_records(tmp_path / "y.jsonl")
    (tmp_path / "x.jsonl").write_text("[]\n")
    with pytest.raises(RequestError, match="is damaged"):
        read_records(tmp_path / "x.jsonl")


class PowerError(BaseException):
    """What no one catches, as Ctrl-C."""


class Breaks:
    """Breaks a run off after so many grades, by what no run can go on after."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.graded: list[str] = []

    def __call__(self, sample: Sample) -> None:
        if self.left == 0:
            raise PowerError
        self.left -= 1
        self.graded.append(sample.id)


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaks]:
    counter = Breaks(after=5)
    real = Tiny.grade

    async def grade(task: Tiny, sample: Sample, answer: Answer) -> Grade:
        counter(sample)
        return await real(task, sample, answer)

    monkeypatch.setattr(Tiny, "grade", grade)
    return counter


def test_a_run_that_was_broken_off_goes_on_where_it_was(
    measure: Measure, breaks: Breaks, tmp_path: Path
) -> None:
    with pytest.raises(BaseExceptionGroup):
        measure("tiny", concurrency=1)
    (journal,) = (tmp_path / "out").glob("*.partial.jsonl")
    assert len(journal.read_text().splitlines()) == 1 + 5
    before, breaks.left = list(breaks.graded), NUM_ROWS
    resumed = measure("tiny", concurrency=1)
    assert len(breaks.graded) == NUM_ROWS
    assert len(set(breaks.graded)) == NUM_ROWS, "nothing was graded twice"
    assert breaks.graded[:5] == before
    assert not journal.exists()
    assert [record.id for record in resumed.records] == [f"row {i}" for i in range(NUM_ROWS)]
    breaks.left = NUM_ROWS
    whole = measure("tiny", concurrency=64)
    assert whole.records == resumed.records
    assert whole.figure == resumed.figure
