"""Runs that no model made: receipts and samples with what a test wants in them."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongwen.evals.figure import Figure, mean
from tongwen.evals.journal import write_records
from tongwen.evals.question import Answer, Likelihood
from tongwen.evals.receipt import Receipt, Settings, file_digest
from tongwen.evals.record import Record
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.subject import Subject
from tongwen.evals.trial import Result
from tongwen.evals.verify import Verdict

Line = dict[str, Any]

HOSTILE = (
    '</script><img src=x onerror="window.hit = 1"><script>window.hit = 2</script>'
    "<!-- <script> <svg onload='window.hit = 3'> &lt;b&gt; $title \u2028"
)
"""What a model might write to those who read the report."""


def subject(name: str = "tiny:0.1b") -> Subject:
    return Subject(
        name=name,
        where="here",
        weights="aa" * 32,
        tokenizer="bb" * 32,
        template=None,
        numerics="avx512-q8_0",
        is_chat=True,
    )


def written(
    id_: str, score: float, text: str = "an answer", group: str = "", **more: str
) -> Record:
    """A sample whose completion was graded."""
    return Record(
        id=id_,
        group=group,
        prompt=[{"role": "user", "content": f"Solved before.\n\nquestion {id_}"}],
        prompt_digest="cc" * 32,
        answers=(Answer(turns=(text,), token_ids=(1, 2, 3)),),
        grades=(Grade(score=score, parsed=text[:9], notes=more),),
    )


def ranked(id_: str, score: float, group: str = "") -> Record:
    """A sample whose options were weighed."""
    context = f"Solved before.\n\nquestion {id_}"
    weights = (Likelihood(logprob=-1.25, num_tokens=1), Likelihood(logprob=-2.5, num_tokens=2))
    return Record(
        id=id_,
        group=group,
        prompt=[[context, " first"], [context, " second"]],
        prompt_digest="dd" * 32,
        answers=(Answer(likelihoods=weights),),
        grades=(Grade(score=score, parsed="first"),),
    )


def failed(id_: str) -> Record:
    return Record(id=id_, failed="the endpoint gave up")


def figure_of(records: Sequence[Record]) -> Figure:
    """The mean of what was graded."""
    return mean(
        [
            Graded(sample=Sample(id=each.id, row={}, group=each.group), grades=each.grades)
            for each in records
            if each.failed is None
        ]
    )


def save_run(
    directory: Path,
    records: Sequence[Record],
    *,
    task: str = "tiny",
    model: str = "tiny:0.1b",
    figure: Figure | None = None,
) -> Path:
    """The receipt of a run of these records."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", f"{task}-{model}")
    samples = directory / f"{stem}.samples.jsonl"
    write_records(samples, records)
    receipt = Receipt(
        settings=Settings(
            task=task, preset="plain", shots=1, limit=None, seed=0, n=1, temperature=0.0
        ),
        subject=subject(model),
        figure=figure or figure_of(records),
        num_samples=len(records),
        num_failed=sum(record.failed is not None for record in records),
        data={f"{task}/test.jsonl": "ee" * 32},
        code="ff" * 32,
        samples_file=samples.name,
        samples_sha256=file_digest(samples),
        machine={"python": "3.11"},
        seconds=1.5,
    )
    path = directory / f"{stem}.receipt.json"
    receipt.write(path)
    return path


def tamper(result: Result, change: Callable[[list[Line]], object]) -> None:
    """Change the samples and make every digest and count fit; the receipt is sealed anew."""
    path = result.path.parent / result.receipt.samples_file
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    replace(
        result.receipt,
        samples_sha256=file_digest(path),
        num_samples=len(lines),
        num_failed=sum("failed" in line for line in lines),
    ).write(result.path)


def whats(verdict: Verdict) -> set[tuple[str, str | None]]:
    return {(each.what, each.sample) for each in verdict.differences}
