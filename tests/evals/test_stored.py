import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.evals.made import Line, tamper, whats
from tests.evals.tiny import NUM_ROWS

from tongwen.errors import RequestError
from tongwen.evals.measure import finished
from tongwen.evals.stored import grade_stored
from tongwen.evals.trial import EvalConfig, Result
from tongwen.evals.verify import Again, Verdict, verify

pytestmark = pytest.mark.usefixtures("measure")

Grade = Callable[..., Result]
PASSING = [f"row {number}" for number in range(0, NUM_ROWS, 3)]


@pytest.fixture
def grade(data: Path, tmp_path: Path) -> Grade:
    """Grades a file in which every third completion has the letter that is wanted."""

    def one(*ids: str, limit: int | None = None) -> Result:
        path = tmp_path / "completions.jsonl"
        texts = {id_: "yes" if id_ in PASSING else "no" for id_ in ids or _all()}
        lines = [json.dumps({"task_id": id_, "completion": text}) for id_, text in texts.items()]
        path.write_text("\n".join(lines))
        config = EvalConfig(data=data, out=tmp_path / "out", limit=limit)
        config.out.mkdir(exist_ok=True)
        return finished(lambda: grade_stored("tiny", path, config, lambda _: None))

    return one


@pytest.fixture
def look(data: Path) -> Callable[[Result], Verdict]:
    """Verifies without a model."""
    return lambda result: verify(result.path, None, Again(data=data))


def _all() -> list[str]:
    return [f"row {number}" for number in range(NUM_ROWS)]


def drop(keeps: Callable[[Line], bool]) -> Callable[[list[Line]], None]:
    def change(lines: list[Line]) -> None:
        lines[:] = [line for line in lines if keeps(line)]

    return change


def test_completions_of_all_samples_hold(grade: Grade, look: Callable[[Result], Verdict]) -> None:
    result = grade()
    assert result.figure.score == pytest.approx(1 / 3)
    verdict = look(result)
    assert verdict.differences == verdict.remarks == ()
    assert verdict.num_graded_again == NUM_ROWS


def test_completions_of_some_samples_are_told_by_receipt_and_verdict(
    grade: Grade, look: Callable[[Result], Verdict]
) -> None:
    result = grade(*PASSING, limit=len(PASSING))
    assert result.receipt.settings.limit == len(PASSING)
    verdict = look(result)
    assert verdict.differences == ()
    assert [each.what for each in verdict.remarks] == ["settings.limit"]


@pytest.mark.parametrize("limit", [None, 1, 5, NUM_ROWS])
def test_a_file_completes_as_many_samples_as_the_limit_says(
    limit: int | None, grade: Grade
) -> None:
    with pytest.raises(RequestError, match=r"completes 4 of 12 samples") as error:
        grade(*PASSING, limit=limit)
    assert "--limit 4" in str(error.value.hint)


def test_a_limit_beyond_the_benchmark_means_all(
    grade: Grade, look: Callable[[Result], Verdict]
) -> None:
    result = grade(limit=NUM_ROWS + 5)
    assert result.receipt.num_samples == NUM_ROWS
    assert look(result).holds


def test_wrong_completions_that_were_left_out_are_missed(
    grade: Grade, look: Callable[[Result], Verdict]
) -> None:
    result = grade()
    tamper(result, drop(lambda line: line["id"] in PASSING))
    missed = {sample for what, sample in whats(look(result)) if what == "record"}
    assert missed == set(_all()) - set(PASSING)


def test_completions_that_were_left_out_under_a_limit_are_missed(
    grade: Grade, look: Callable[[Result], Verdict]
) -> None:
    result = grade(*_all()[:6], limit=6)
    tamper(result, drop(lambda line: line["id"] in PASSING))
    assert ("settings.limit", None) in whats(look(result))


def test_a_wrong_completion_that_was_declared_failed_is_graded_again(
    grade: Grade, look: Callable[[Result], Verdict]
) -> None:
    result = grade()

    def fail(lines: list[Line]) -> None:
        lines[1]["failed"] = "no luck"
        del lines[1]["grades"]

    tamper(result, fail)
    verdict = look(result)
    assert ("failed", "row 1") in whats(verdict)
    assert verdict.num_graded_again == NUM_ROWS


def test_a_failed_sample_keeps_its_completion(
    grade: Grade, look: Callable[[Result], Verdict]
) -> None:
    result = grade()

    def strip(lines: list[Line]) -> None:
        lines[1] = {"id": lines[1]["id"], "group": lines[1]["group"], "failed": "no luck"}

    tamper(result, strip)
    assert ("answers", "row 1") in whats(look(result))
