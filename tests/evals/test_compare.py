import json
from dataclasses import replace

import pytest
from tests.evals.conftest import Measure
from tests.evals.tiny import NUM_ROWS

from tongwen.errors import RequestError
from tongwen.evals.compare import compare
from tongwen.evals.journal import write_records
from tongwen.evals.receipt import file_digest
from tongwen.evals.runs import Run, read_run
from tongwen.evals.trial import Result


def with_scores(run: Run, scores: dict[str, float]) -> Run:
    """The run, had these samples been given these scores."""
    records = [
        replace(each, grades=(replace(each.grades[0], score=scores.get(each.id, score)),))
        for each in run.records
        for score in [each.grades[0].score]
    ]
    return replace(run, records=records)


@pytest.fixture
def run(measure: Measure) -> Run:
    return read_run(measure("tiny-rank").path)


def test_a_run_is_like_itself(run: Run) -> None:
    found = compare(run, run)
    assert found.differing == ()
    assert found.flips == ()
    assert found.p_value == 1.0
    assert found.paired.difference == 0.0
    assert found.is_of_figure
    assert found.num_same_prompts == NUM_ROWS
    assert "made alike" in found.text()


def test_what_differs_is_named_with_both_values(measure: Measure) -> None:
    first, second = (read_run(measure("tiny", seed=seed).path) for seed in (1, 2))
    places = {each.place: (each.first, each.second) for each in compare(first, second).differing}
    assert places == {"settings.seed": (1, 2)}
    other = replace(second.receipt, subject=replace(second.receipt.subject, numerics="other"))
    found = compare(first, replace(second, receipt=other))
    assert {each.place for each in found.differing} == {"settings.seed", "subject.numerics"}
    assert "subject.numerics" in found.text()


def test_samples_that_flipped_are_told_with_their_answers(run: Run) -> None:
    before = with_scores(run, {record.id: 0.0 for record in run.records})
    after = with_scores(before, {"row 1": 1.0, "row 2": 1.0, "row 5": 1.0})
    found = compare(before, after)
    assert [flip.id for flip in found.flips] == ["row 1", "row 2", "row 5"]
    assert found.p_value == 0.25
    assert found.paired.difference == pytest.approx(3 / NUM_ROWS)
    assert "better in B: 3" in found.text()
    assert "better in A: 0" in found.text()


def test_of_a_perplexity_less_is_better(measure: Measure) -> None:
    before = read_run(measure("tiny-weigh").path)
    found = compare(before, with_scores(before, {"row 1": 0.0, "row 2": 0.0, "row 5": 1e9}))
    assert found.less_is_better
    assert found.text().startswith("tiny-weigh, less is better\n")
    assert "better in B: 2\n  row 1" in found.text()
    assert "better in A: 1\n  row 5" in found.text()
    back = json.loads(json.dumps(found.to_json()))
    assert [flip["id"] for flip in back["flips"]] == ["row 1", "row 2", "row 5"]


def test_only_samples_that_both_have_are_paired(measure: Measure) -> None:
    whole, some = (read_run(measure("tiny-rank", limit=limit).path) for limit in (None, 5))
    found = compare(whole, some)
    assert found.paired.num_samples == 5
    assert found.num_only == (NUM_ROWS - 5, 0)
    assert "7 in A, 0 in B" in found.text()


def test_failed_samples_are_left_out_and_counted(run: Run) -> None:
    failed = [replace(run.records[0], failed="no luck", grades=()), *run.records[1:]]
    found = compare(run, replace(run, records=failed, receipt=replace(run.receipt, num_failed=1)))
    assert found.paired.num_samples == NUM_ROWS - 1
    assert found.num_failed == (0, 1)


def test_a_macro_figure_is_compared_group_by_group(measure: Measure) -> None:
    run = read_run(measure("tiny-macro").path)
    lopsided = replace(run, records=[each for each in run.records if each.id != "row 0"])
    found = compare(lopsided, lopsided)
    assert found.paired.num_groups == 2
    assert compare(run, run).is_of_figure


def test_a_figure_that_is_no_mean_of_scores_is_said_to_be_none(run: Run) -> None:
    figure = replace(run.receipt.figure, score=17.5)
    other = replace(run, receipt=replace(run.receipt, figure=figure))
    found = compare(other, other)
    assert not found.is_of_figure
    assert "no mean of them" in found.text()


def test_other_benchmarks_are_refused_in_one_line(measure: Measure) -> None:
    runs = [read_run(measure(name).path) for name in ("tiny", "tiny-rank")]
    with pytest.raises(RequestError, match="one run is of `tiny`, the other of `tiny-rank`"):
        compare(*runs)


def test_other_data_is_refused_in_one_line(run: Run) -> None:
    other = replace(run, receipt=replace(run.receipt, data={"tiny/test.jsonl": "f" * 64}))
    with pytest.raises(RequestError, match=r"`tiny/test.jsonl` is `.{12}` in one and `f{12}`"):
        compare(run, other)
    elsewhere = replace(run, receipt=replace(run.receipt, data={"tiny/test.csv": "f" * 64}))
    with pytest.raises(RequestError, match="different files"):
        compare(run, elsewhere)


def test_runs_without_a_common_sample_are_refused(run: Run) -> None:
    half = replace(run, records=run.records[:6]), replace(run, records=run.records[6:])
    with pytest.raises(RequestError, match="without a graded sample in common"):
        compare(*half)


def test_no_answer_moves_the_cursor_of_a_terminal(run: Run) -> None:
    nasty = "\x1b[2J\x07 " + "x" * 200
    other = with_scores(run, {"row 3": 1.0 - run.records[3].grades[0].score})
    records = list(other.records)
    records[3] = replace(records[3], grades=(replace(records[3].grades[0], parsed=nasty),))
    text = compare(run, replace(other, records=records)).text()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "x" * 60 not in text


def test_samples_that_were_changed_are_not_compared(measure: Measure) -> None:
    result: Result = measure("tiny-rank")
    path = result.path.parent / result.receipt.samples_file
    write_records(path, result.records[1:])
    assert file_digest(path) != result.receipt.samples_sha256
    with pytest.raises(RequestError, match="was changed after"):
        read_run(result.path)
