import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evals.conftest import Measure
from tests.evals.tiny import NUM_ROWS, Tiny

from tongwen.engine.llm import LLM
from tongwen.errors import RequestError, SourceError
from tongwen.evals.catalogue import TASKS
from tongwen.evals.examine import Progress
from tongwen.evals.measure import run
from tongwen.evals.question import Answer
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.trial import EvalConfig, Result, chosen
from tongwen.kernels.machine import machine

NATIVE = pytest.mark.skipif(machine() is None, reason="only native kernels promise bits")


class PowerError(BaseException):
    """What no one catches, as Ctrl-C."""


def lines(result: Result) -> list[dict[str, Any]]:
    path = result.path.parent / result.receipt.samples_file
    return [json.loads(line) for line in path.read_text().split("\n") if line]


@NATIVE
@pytest.mark.parametrize("task", ["tiny", "tiny-chat", "tiny-rank", "tiny-weigh"])
def test_how_many_samples_are_asked_at_once_changes_no_bit(
    task: str, measure: Measure, tmp_path: Path
) -> None:
    alone = measure(task, concurrency=1, out=tmp_path / "alone")
    together = measure(task, concurrency=64, out=tmp_path / "together")
    assert lines(alone) == lines(together)
    assert alone.figure == together.figure
    assert alone.receipt.samples_sha256 == together.receipt.samples_sha256


def test_a_run_goes_on_where_it_was_broken_off(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = measure("tiny", out=tmp_path / "whole")
    asked: list[str] = []

    class Breaks(Tiny):
        is_weak = True

        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            asked.append(sample.id)
            if len(asked) == 5 and Breaks.is_weak:
                raise PowerError
            return await super().grade(sample, answer)

    monkeypatch.setitem(TASKS, "tiny", Breaks)
    with pytest.raises(BaseExceptionGroup):
        measure("tiny", concurrency=1)
    before = set(asked[:4])
    asked.clear()
    Breaks.is_weak = False
    again = measure("tiny", concurrency=1)
    assert before.isdisjoint(asked)
    assert len(asked) == NUM_ROWS - 4
    assert len(again.records) == NUM_ROWS
    assert lines(again) == lines(whole)
    assert not list((tmp_path / "out").glob("*.partial.jsonl"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The benchmarks that were asked, a name for each sample."""
    found: list[str] = []

    class Noted(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            found.append(sample.id)
            return await super().grade(sample, answer)

    monkeypatch.setitem(TASKS, "tiny", Noted)
    return found


def test_what_an_earlier_run_had_done_is_not_asked_again(
    measure: Measure, asked: list[str]
) -> None:
    first = measure("tiny")
    assert not first.was_done
    asked.clear()
    told: list[Progress] = []
    second = measure("tiny", tell=told.append)
    assert asked == []
    assert second.was_done
    assert (second.receipt, second.path) == (first.receipt, first.path)
    assert lines(second) == lines(first)
    assert (told[-1].before, told[-1].done, told[-1].total) == (NUM_ROWS, NUM_ROWS, NUM_ROWS)
    assert told[-1].score == pytest.approx(first.figure.score)


def test_what_was_done_is_asked_again_where_that_is_wanted(
    measure: Measure, asked: list[str]
) -> None:
    first = measure("tiny")
    asked.clear()
    again = measure("tiny", again=True)
    assert len(asked) == NUM_ROWS
    assert not again.was_done
    assert again.figure == first.figure


def test_a_run_that_asks_again_and_is_broken_off_goes_on(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure("tiny")
    asked: list[str] = []

    class Breaks(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            asked.append(sample.id)
            if len(asked) == 5:
                raise PowerError
            return await super().grade(sample, answer)

    monkeypatch.setitem(TASKS, "tiny", Breaks)
    with pytest.raises(BaseExceptionGroup):
        measure("tiny", concurrency=1, again=True)
    resumed = measure("tiny", concurrency=1)
    assert not resumed.was_done
    assert len(asked) == 5 + NUM_ROWS - 4


@pytest.mark.parametrize("more", [{"seed": 1}, {"limit": 3}, {"preset": "other"}])
def test_a_run_of_other_settings_was_not_done(
    more: dict[str, Any], measure: Measure, asked: list[str]
) -> None:
    measure("tiny")
    asked.clear()
    assert not measure("tiny", **more).was_done
    assert asked


def test_a_run_whose_samples_were_changed_since_is_made_anew(
    measure: Measure, asked: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = measure("tiny")
    before = lines(first)
    (first.path.parent / first.receipt.samples_file).write_text("")
    asked.clear()
    assert not measure("tiny").was_done
    assert len(asked) == NUM_ROWS
    assert lines(first) == before
    assert "it is made anew" in caplog.text


def test_libraries_that_judge_and_are_others_now_make_a_run_anew(
    measure: Measure, asked: list[str]
) -> None:
    first = measure("tiny")
    machine = {**first.receipt.machine, "sympy": "0.1"}
    replace(first.receipt, machine=machine).write(first.path)
    asked.clear()
    assert not measure("tiny").was_done
    assert len(asked) == NUM_ROWS


def test_a_sample_that_fails_is_counted_apart_and_asked_again_by_the_next_run(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure("tiny")

    class Fails(Tiny):
        is_ill = True

        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            if Fails.is_ill and sample.id == "row 3":
                raise SourceError("the judge is ill")
            return await super().grade(sample, answer)

    monkeypatch.setitem(TASKS, "tiny", Fails)
    first = measure("tiny", seed=1)
    assert first.receipt.num_failed == 1
    assert first.receipt.num_samples == NUM_ROWS
    assert [record.failed for record in first.records if record.failed] == ["the judge is ill"]
    scores = [record.grades[0].score for record in first.records if record.grades]
    assert len(scores) == NUM_ROWS - 1
    assert first.figure.score == pytest.approx(sum(scores) / len(scores))
    Fails.is_ill = False
    healed = measure("tiny", seed=1)
    assert healed.receipt.num_failed == 0
    assert healed.figure.score == whole.figure.score


def test_where_every_sample_fails_there_is_no_figure(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            raise SourceError("nobody answers")

    monkeypatch.setitem(TASKS, "tiny", Fails)
    with pytest.raises(RequestError, match=r"not one of 12 samples .* nobody answers"):
        measure("tiny")


def test_several_completions_give_pass_at_k_and_a_vote(measure: Measure) -> None:
    result = measure("tiny", n=4, temperature=1.0)
    assert all(len(record.grades) == 4 for record in result.records)
    assert {"pass@1", "pass@2", "pass@4", "maj@4"} <= result.figure.metrics.keys()
    assert result.figure.metrics["pass@1"] == pytest.approx(result.figure.score)
    assert result.figure.metrics["pass@4"] >= result.figure.metrics["pass@1"]


def test_the_same_seed_gives_the_same_completions_and_another_others(
    measure: Measure, tmp_path: Path
) -> None:
    one, same, other = (
        measure("tiny", temperature=1.0, seed=seed, out=tmp_path / str(place))
        for place, seed in enumerate((3, 3, 4))
    )
    assert [record.answers for record in one.records] == [each.answers for each in same.records]
    assert [record.answers for record in one.records] != [each.answers for each in other.records]


def test_fewer_samples_are_among_more_and_in_the_order_of_the_file() -> None:
    samples = [Sample(id=str(number), row={}) for number in range(100)]
    few, more = (chosen(samples, limit, seed=5) for limit in (10, 40))
    assert len(few) == 10
    assert {sample.id for sample in few} < {sample.id for sample in more}
    assert [int(sample.id) for sample in more] == sorted(int(sample.id) for sample in more)
    assert chosen(samples, 10, seed=6) != few
    assert chosen(samples, None, seed=5) == samples


@pytest.mark.usefixtures("measure")
def test_it_runs_inside_a_running_event_loop(tiny_llm: LLM, data: Path, tmp_path: Path) -> None:
    async def inside() -> list[Result]:
        return run("tiny", tiny_llm, EvalConfig(data=data, out=tmp_path / "inside"))

    (result,) = asyncio.run(inside())
    assert result.receipt.num_samples == NUM_ROWS


def test_a_receipt_says_what_the_figure_depends_on(measure: Measure, tiny_llm: LLM) -> None:
    receipt = measure("tiny", limit=5, seed=2).receipt
    assert receipt.settings.limit == 5
    assert receipt.settings.seed == 2
    assert list(receipt.data) == ["tiny/test.jsonl"]
    subject = receipt.subject
    assert subject.numerics == tiny_llm.numerics
    assert subject.tokenizer == tiny_llm.tokenizer.digest
    assert subject.template == tiny_llm.chat_format.digest
    assert all(
        len(each or "") == 64 for each in (subject.weights, receipt.code, receipt.samples_sha256)
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"limit": 0}, "`limit` must be at least 1, not 0"),
        ({"n": 0}, "`n` must be at least 1, not 0"),
        ({"concurrency": 0}, "`concurrency` must be at least 1"),
        ({"preset": "qwen3"}, "`Tiny` has no preset `qwen3`"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: dict[str, Any], words: str, measure: Measure
) -> None:
    with pytest.raises(RequestError, match=words):
        measure("tiny", **settings)


def test_a_name_that_is_no_benchmark_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no benchmark is called `gsm9k`") as error:
        run("gsm9k", "no-such-model:1b", EvalConfig(out=tmp_path))
    assert "`gsm8k`" in str(error.value.hint)


def test_data_that_is_not_there_is_said_with_where_to_get_it(
    measure: Measure, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="`tiny/test` is not there"):
        measure("tiny", data=tmp_path / "empty")


def test_a_fault_of_ours_costs_one_sample_and_is_counted(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            if sample.id == "row 4":
                raise OverflowError("int too large")
            return await super().grade(sample, answer)

    monkeypatch.setitem(TASKS, "tiny", Faulty)
    result = measure("tiny")
    assert result.receipt.num_failed == 1
    assert [each.failed for each in result.records if each.failed] == [
        "a fault of ours: OverflowError('int too large')"
    ]
    assert "a fault of Tongwen's at sample `row 4`" in caplog.text


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_samples_are_judged_at_once_than_are_asked(
    concurrency: int, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most = 0, 0

    class Counts(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            return await super().grade(sample, answer)

    monkeypatch.setitem(TASKS, "tiny", Counts)
    measure("tiny", concurrency=concurrency)
    assert most == concurrency


@pytest.mark.parametrize("text", ["half a pair: \ud83d", "\udcff", "\u2028 and \x00"])
def test_whatever_a_model_writes_is_kept(
    text: str, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Writes(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            return Grade(score=1.0, parsed=text)

    monkeypatch.setitem(TASKS, "tiny", Writes)
    result = measure("tiny")
    assert result.receipt.num_failed == 0
    assert {line["grades"][0]["parsed"] for line in lines(result)} == {text}


def test_a_number_that_json_has_no_word_for_fails_its_sample(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Weighs(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            return Grade(score=float("nan") if sample.id == "row 0" else 1.0)

    monkeypatch.setitem(TASKS, "tiny", Weighs)
    assert measure("tiny").receipt.num_failed == 1


def test_where_nothing_is_parsed_there_is_no_vote(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Tiny):
        async def grade(self, sample: Sample, answer: Answer) -> Grade:
            return Grade(score=1.0)

    monkeypatch.setitem(TASKS, "tiny", Silent)
    metrics = measure("tiny", n=2, temperature=1.0).figure.metrics
    assert "maj@2" not in metrics
    assert metrics["pass@2"] == 1
