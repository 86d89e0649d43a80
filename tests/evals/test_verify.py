import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evals.conftest import Measure
from tests.evals.made import Line, tamper, whats
from tests.evals.tiny import NUM_ROWS, save_packable

from tongwen.engine.llm import LLM
from tongwen.errors import RequestError
from tongwen.evals.receipt import read_receipt
from tongwen.evals.target import Target
from tongwen.evals.trial import Result
from tongwen.evals.verify import Again, Verdict, verify
from tongwen.kernels.machine import machine

Check = Callable[..., Verdict]


@pytest.fixture
def check(tiny_llm: LLM, data: Path) -> Check:
    """Verifies a run with the tiny model."""

    def one(result: Result, model: LLM | None = None, **settings: Any) -> Verdict:
        again = Again(**{"data": data, "concurrency": 3, **settings})
        return verify(result.path, Target(model=model or tiny_llm), again)

    return one


@pytest.mark.skipif(machine() is None, reason="only native kernels promise bits")
@pytest.mark.parametrize("task", ["tiny", "tiny-chat", "tiny-rank", "tiny-macro", "tiny-weigh"])
def test_a_receipt_holds_with_any_number_of_samples_at_once(
    task: str, measure: Measure, check: Check
) -> None:
    result = measure(task, concurrency=64)
    for concurrency in (1, 5):
        verdict = check(result, concurrency=concurrency)
        assert verdict.differences == ()
        assert verdict.holds
        assert verdict.num_asked_again == verdict.num_graded_again == NUM_ROWS
        assert verdict.remarks == ()
        assert "holds\n" in verdict.text()


def test_completions_that_were_drawn_are_drawn_again(measure: Measure, check: Check) -> None:
    result = measure("tiny", n=3, temperature=1.0, seed=5)
    texts = {answer.text for record in result.records for answer in record.answers}
    assert len(texts) > NUM_ROWS, "else nothing was drawn"
    assert check(result).differences == ()


def test_a_sample_of_the_samples_is_drawn_by_the_seed(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank", limit=8)
    assert check(result, num_samples=0).num_asked_again == 0
    assert check(result, num_samples=3).num_asked_again == 3
    assert check(result, num_samples=99).num_asked_again == 8


def test_without_a_model_stored_answers_are_graded_again(measure: Measure, data: Path) -> None:
    result = measure("tiny")
    verdict = verify(result.path, None, Again(data=data))
    assert verdict.holds
    assert (verdict.num_graded_again, verdict.num_asked_again) == (NUM_ROWS, 0)
    flipped = 1.0 - result.records[2].grades[0].score
    tamper(result, lambda lines: lines[2]["grades"][0].update(score=flipped))
    verdict = verify(result.path, None, Again(data=data))
    assert ("stored answer's score", "row 2") in whats(verdict)


def test_every_sample_that_is_asked_again_is_told(
    measure: Measure, data: Path, tiny_llm: LLM
) -> None:
    told: list[tuple[int, int]] = []
    again = Again(data=data, num_samples=4)
    verify(
        measure("tiny-rank").path,
        Target(model=tiny_llm),
        again,
        tell=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_seal_that_was_broken_is_refused(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")
    said = json.loads(result.path.read_text())
    said["figure"]["score"] = 0.999
    result.path.write_text(json.dumps(said))
    with pytest.raises(RequestError, match="its digest does not fit"):
        check(result)


def test_a_file_of_samples_that_was_changed_is_named(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")
    path = result.path.parent / result.receipt.samples_file
    lines = path.read_text().splitlines()
    first = json.loads(lines[0])
    first["grades"][0]["score"] = 1.0 - first["grades"][0]["score"]
    path.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    found = whats(check(result, num_samples=0))
    assert ("samples file", None) in found
    assert ("figure.score", None) in found
    assert ("stored answer's score", "row 0") in found


def test_an_edited_score_under_a_new_seal_is_caught_without_asking(
    measure: Measure, check: Check
) -> None:
    result = measure("tiny-rank")
    flipped = 1.0 - result.records[2].grades[0].score
    tamper(result, lambda lines: lines[2]["grades"][0].update(score=flipped))
    verdict = check(result, num_samples=0)
    assert ("stored answer's score", "row 2") in whats(verdict)
    assert ("figure.score", None) in whats(verdict)
    assert not verdict.holds


def test_scores_edited_together_with_the_figure_are_caught(measure: Measure, check: Check) -> None:
    result = measure("tiny")
    tamper(result, lambda lines: [line["grades"][0].update(score=1.0) for line in lines])
    figure = replace(result.figure, score=1.0, stderr=0.0, groups={"even": 1.0, "odd": 1.0})
    replace(read_receipt(result.path), figure=figure).write(result.path)
    wrong = [record.id for record in result.records if record.grades[0].score != 1]
    assert wrong
    verdict = check(result, num_samples=0)
    assert whats(verdict) == {("stored answer's score", id_) for id_ in wrong}


@pytest.mark.parametrize("task", ["tiny", "tiny-chat"])
def test_an_edited_text_is_caught_by_asking_again(
    task: str, measure: Measure, check: Check
) -> None:
    result = measure(task)

    def edit(lines: list[Line]) -> None:
        answer = lines[4]["answers"][0]
        answer["turns"][-1] += "!"
        lines[4]["grades"][0]["metrics"]["letters"] += 1.0

    tamper(result, edit)
    found = whats(check(result))
    assert ("turns", "row 4") in found
    assert {sample for _, sample in found} <= {"row 4", None}


def test_ids_that_were_left_out_do_not_hide_an_edited_text(measure: Measure, check: Check) -> None:
    result = measure("tiny")

    def edit(lines: list[Line]) -> None:
        for line in lines:
            del line["answers"][0]["token_ids"]
        lines[1]["answers"][0]["turns"][0] += " e"

    tamper(result, edit)
    assert ("turns", "row 1") in whats(check(result))


def test_the_last_bit_of_a_likelihood_counts(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")

    def edit(lines: list[Line]) -> None:
        pair = lines[3]["answers"][0]["likelihoods"][1]
        pair[0] = pair[0] * (1 + 2**-51)

    before = result.records[3].answers[0].likelihoods[1].logprob
    assert before * (1 + 2**-51) != before
    tamper(result, edit)
    assert whats(check(result)) == {("likelihoods", "row 3")}


def test_a_sample_that_was_dropped_is_missed(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")
    tamper(result, lambda lines: lines.pop(5))
    assert ("record", "row 5") in whats(check(result, num_samples=0))


def test_a_sample_that_was_told_twice_is_noticed(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")
    tamper(result, lambda lines: lines.append(lines[0]))
    assert ("order of samples", None) in whats(check(result, num_samples=0))


def test_a_wrong_answer_that_was_declared_failed_is_caught(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")

    def edit(lines: list[Line]) -> None:
        lines[0] = {"id": lines[0]["id"], "group": lines[0]["group"], "failed": "no luck"}

    tamper(result, edit)
    assert ("failed", "row 0") in whats(check(result))


def test_data_that_was_changed_is_named(measure: Measure, check: Check, data: Path) -> None:
    result = measure("tiny-rank")
    path = data / "tiny" / "test.jsonl"
    path.write_text(path.read_text().replace("value 7", "value 9"))
    found = whats(check(result))
    assert ("data tiny/test.jsonl", None) in found
    assert ("prompt", "row 7") in found


def test_data_that_is_not_there_is_a_difference(measure: Measure, check: Check) -> None:
    verdict = check(measure("tiny-rank"), data=Path("nowhere"))
    assert whats(verdict) == {("benchmark", None)}
    assert (
        verdict.differences[0].now
        == "the benchmark's file `tiny/test` is not there: not in `nowhere`"
    )


def test_other_weights_are_named_before_their_answers(
    measure: Measure, check: Check, tmp_path: Path
) -> None:
    result = measure("tiny-rank")
    path = save_packable(tmp_path / "other", seed=8)
    other = LLM(path, context=512, weights="int8", home=tmp_path / "home")
    first, *others = check(result, model=other).differences
    assert first.what == "subject.weights"
    assert ("likelihoods", "row 0") in {(each.what, each.sample) for each in others}


def test_other_numerics_are_named_and_told_from_other_weights(
    measure: Measure, check: Check, tiny_llm: LLM, tmp_path: Path
) -> None:
    result = measure("tiny-rank")
    other = LLM(tiny_llm.source.path, context=512, weights="bf16", home=tmp_path / "home")
    found = whats(check(result, model=other, num_samples=0))
    assert found == {("subject.numerics", None)}


def test_code_of_another_day_is_remarked_and_fails_nothing(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")
    replace(result.receipt, code="0" * 64, version="0.0.1").write(result.path)
    verdict = check(result)
    assert verdict.holds
    assert {each.what for each in verdict.remarks} == {"code", "version"}
    assert json.loads(json.dumps(verdict.to_json()))["holds"] is True


def test_a_file_of_samples_lies_beside_its_receipt(measure: Measure, check: Check) -> None:
    result = measure("tiny-rank")
    replace(result.receipt, samples_file="../data/tiny/test.jsonl").write(result.path)
    with pytest.raises(RequestError, match="not beside it"):
        check(result)
