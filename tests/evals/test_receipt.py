import hashlib
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tests.evals.conftest import Measure
from tests.evals.made import save_run, written
from tests.evals.tiny import NUM_ROWS

from tongwen.engine.llm import LLM
from tongwen.errors import RequestError
from tongwen.evals.receipt import Receipt, code_digest, file_digest, read_receipt

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save_run(tmp_path, [written("a", 1.0), written("b", 0.0)])


def edit(path: Path, change: Change) -> None:
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


def test_a_receipt_is_read_as_it_was_written(path: Path) -> None:
    receipt = read_receipt(path)
    again = path.with_name("again.json")
    receipt.write(again)
    assert read_receipt(again) == receipt
    assert again.read_text() == path.read_text()
    assert receipt.figure.score == 0.5


@pytest.mark.parametrize("name", [each.name for each in fields(Receipt) if each.name != "format"])
def test_a_change_in_any_field_breaks_the_seal(path: Path, name: str) -> None:
    def change(said: dict[str, Any]) -> None:
        value = said[name]
        if isinstance(value, dict):
            first, old = next(iter(value.items()))
            value[first] = "another" if isinstance(old, str) else 0.25
        else:
            said[name] = "another" if isinstance(value, str) else value + 1

    edit(path, change)
    with pytest.raises(RequestError, match="its digest does not fit"):
        read_receipt(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda said: said.pop("digest"), "is no receipt"),
        (lambda said: said.pop("code"), "is no receipt"),
        (lambda said: said.update(more=1), "other fields: more"),
        (lambda said: said.update(format="tongwen-receipt-9"), "its format is `tongwen-receipt-9`"),
        (lambda said: said["settings"].pop("seed"), "is no receipt"),
    ],
)
def test_what_is_no_receipt_is_refused_with_a_reason(
    path: Path, change: Change, match: str
) -> None:
    edit(path, change)
    with pytest.raises(RequestError, match=match):
        read_receipt(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["figure"].update(score="<b>high</b>"),
        lambda said: said["figure"].update(groups={"law": None}),
        lambda said: said["settings"].update(task=7),
        lambda said: said.update(num_samples=True),
        lambda said: said.update(data={"x": 1}),
        lambda said: said["figure"].update(score=float("nan")),
    ],
)
def test_a_seal_over_values_of_other_kinds_makes_no_receipt(path: Path, change: Change) -> None:
    def forge(said: dict[str, Any]) -> None:
        del said["digest"]
        change(said)
        whole = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        said["digest"] = hashlib.sha256(whole.encode()).hexdigest()

    edit(path, forge)
    with pytest.raises(RequestError, match="is no receipt"):
        read_receipt(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RequestError, match="is no receipt"):
        read_receipt(tmp_path / "x.json")
    with pytest.raises(RequestError, match="cannot be read"):
        read_receipt(tmp_path / "y.json")


def test_spaces_and_order_do_not_break_the_seal(path: Path) -> None:
    said = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(said.items())), indent=7))
    assert read_receipt(path).figure.score == 0.5


def test_a_run_leaves_a_receipt_of_everything_that_it_depends_on(
    measure: Measure, tiny_llm: LLM, data: Path
) -> None:
    result = measure("tiny-rank", limit=7, seed=3)
    receipt = read_receipt(result.path)
    assert receipt == result.receipt
    assert (receipt.settings.task, receipt.settings.limit, receipt.settings.seed) == (
        "tiny-rank",
        7,
        3,
    )
    assert receipt.subject.numerics == tiny_llm.numerics
    assert receipt.subject.tokenizer == tiny_llm.tokenizer.digest
    assert receipt.data == {"tiny/test.jsonl": file_digest(data / "tiny" / "test.jsonl")}
    assert receipt.code == code_digest()
    assert receipt.samples_sha256 == file_digest(result.path.parent / receipt.samples_file)
    assert (receipt.num_samples, receipt.num_failed) == (7, 0)
    assert len(result.path.read_text()) < 4_000, "samples lie beside it"


def test_fewer_samples_are_among_more(measure: Measure) -> None:
    few, more = (measure("tiny-rank", limit=limit, seed=2).records for limit in (4, 9))
    assert {record.id for record in few} < {record.id for record in more}
    assert len(measure("tiny-rank").records) == NUM_ROWS


def test_runs_of_other_settings_do_not_overwrite_each_other(measure: Measure) -> None:
    paths = {measure("tiny-rank", **more).path for more in ({}, {"seed": 1}, {"limit": 3})}
    assert len(paths) == 3


def test_the_same_run_again_has_the_same_samples_to_the_byte(measure: Measure) -> None:
    first = measure("tiny", concurrency=64)
    before = (first.path.parent / first.receipt.samples_file).read_bytes()
    again = measure("tiny", concurrency=2, again=True)
    assert not again.was_done
    assert again.path == first.path
    assert (again.path.parent / again.receipt.samples_file).read_bytes() == before
    assert replace(again.receipt, seconds=0.0) == replace(first.receipt, seconds=0.0)
