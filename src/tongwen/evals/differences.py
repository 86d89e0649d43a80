"""What is not as a receipt says: of its subject, its file, its samples, bit by bit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.evals.ask import answer_json
from tongwen.evals.receipt import Receipt, Settings, code_digest, this_machine
from tongwen.evals.record import Record
from tongwen.evals.runs import Run
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.subject import STORED, Subject
from tongwen.version import __version__

_IDENTITY = ("weights", "adapter", "tokenizer", "template", "numerics")
_ABSENT = "absent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Something that is not as the receipt says."""

    what: str
    """`subject.weights`, `data`, `figure.score`, `answers` ..."""

    receipt: Any
    now: Any
    sample: str | None = None
    """Where it is of one sample: its id."""


def of_subject(then: Subject, now: Subject, whose: str = "subject") -> list[Difference]:
    """Digests that both tell, and that are not the same."""
    return [
        each
        for each in _of_identity(then, now, whose)
        if (each.receipt or _tells(then)) and (each.now or _tells(now))
    ]


def of_judge(settings: Settings, now: Subject) -> list[Difference]:
    """Another judge: of another name, unless the weights are the same; or of other digests."""
    then = settings.judged_by
    found = [] if then is None else of_subject(then, now, "judge")
    weights = None if then is None else then.weights
    if settings.judge == now.name or (weights is not None and weights == now.weights):
        return found
    return [Difference(what="judge", receipt=settings.judge, now=now.name), *found]


def remarks(receipt: Receipt, now: Subject, judge: Subject | None) -> list[Difference]:
    """What may move a figure and need not: digests that one does not tell, code, libraries.

    Args:
        receipt: What was.
        now: Who is asked.
        judge: Who judges; `None`: nobody.
    """
    untold = _untold(receipt.subject, now, "subject")
    then = receipt.settings.judged_by
    if judge is not None and then is not None:
        untold += _untold(then, judge, "judge")
    made = {"code": receipt.code, "version": receipt.version, **receipt.machine}
    here = {"code": code_digest(), "version": __version__, **this_machine()}
    promised = _of_promises(receipt.subject) + _of_choice(receipt)
    return untold + promised + unequal("", made, here)


def _of_promises(subject: Subject) -> list[Difference]:
    """Of PyTorch's own products the last bit may hang on what else is in the batch."""
    numerics = subject.numerics
    if numerics is None or not numerics.startswith("plain"):
        return []
    return [Difference(what="subject.numerics", receipt=numerics, now="bits may vary by batch")]


def _of_choice(receipt: Receipt) -> list[Difference]:
    """No seed drew the samples of a file that completes some; somebody may have picked them."""
    limit = receipt.settings.limit
    if receipt.subject.where != STORED or limit is None:
        return []
    return [Difference(what="settings.limit", receipt=limit, now="chosen by the file")]


def _untold(then: Subject, now: Subject, whose: str) -> list[Difference]:
    told = of_subject(then, now, whose)
    return [each for each in _of_identity(then, now, whose) if each not in told]


def _of_identity(then: Subject, now: Subject, whose: str) -> list[Difference]:
    before, after = then.to_json(), now.to_json()
    return [
        Difference(what=f"{whose}.{name}", receipt=before[name], now=after[name])
        for name in _IDENTITY
        if before[name] != after[name]
    ]


def _tells(subject: Subject) -> bool:
    """Of a model in this process `None` means that it has none; an endpoint may not tell."""
    return subject.where == "here"


def of_file(run: Run) -> list[Difference]:
    """The samples' file as a whole."""
    found = []
    if not run.is_whole:
        found.append(
            Difference(what="samples file", receipt=run.receipt.samples_sha256, now="another")
        )
    counts = {
        "num_samples": (run.receipt.num_samples, len(run.records)),
        "num_failed": (run.receipt.num_failed, len(run.records) - len(run.graded)),
    }
    return found + [
        Difference(what=what, receipt=then, now=now)
        for what, (then, now) in counts.items()
        if then != now
    ]


def of_stored(run: Run, num_samples: int) -> list[Difference]:
    """What stored completions lack: as many as the limit says, and of each what was written.

    Args:
        run: The samples that were graded.
        num_samples: All that the benchmark has.
    """
    receipt = run.receipt
    if receipt.subject.where != STORED:
        return []
    limit, found = receipt.settings.limit, []
    if limit is not None and len(run.records) != min(limit, num_samples):
        found.append(Difference(what="settings.limit", receipt=limit, now=len(run.records)))
    return found + [
        Difference(what="answers", receipt=_ABSENT, now="wanted", sample=record.id)
        for record in run.records
        if not record.answers
    ]


def of_ids(samples: Sequence[Sample], records: Sequence[Record]) -> list[Difference]:
    """Samples that should have been asked and were not, and the other way round."""
    wanted, there = [each.id for each in samples], [each.id for each in records]
    if wanted == there:
        return []
    absent, unknown = set(wanted) - set(there), set(there) - set(wanted)
    found = [
        Difference(what="record", receipt=_ABSENT, now="wanted", sample=id_)
        for id_ in wanted
        if id_ in absent
    ] + [
        Difference(what="record", receipt="there", now="unknown", sample=id_)
        for id_ in there
        if id_ in unknown
    ]
    return found or [Difference(what="order of samples", receipt=there[:3], now=wanted[:3])]


def of_grades(
    whose: str, id_: str, then: Sequence[Grade], now: Sequence[Grade]
) -> list[Difference]:
    """What an answer is worth; notes are for readers, and may tell of times."""
    if len(then) != len(now):
        return [Difference(what=f"{whose}grades", receipt=len(then), now=len(now), sample=id_)]
    return [
        Difference(what=f"{whose}{name}", receipt=old, now=new, sample=id_)
        for before, after in zip(then, now, strict=True)
        for name, (old, new) in _values(before, after).items()
        if old != new
    ]


def _values(then: Grade, now: Grade) -> dict[str, tuple[Any, Any]]:
    return {
        "score": (then.score, now.score),
        "parsed": (then.parsed, now.parsed),
        "metrics": (dict(then.metrics), dict(now.metrics)),
    }


def of_records(then: Record, now: Record) -> list[Difference]:
    """What is not the same, to the bit, in a sample that was asked again."""
    asked = {
        "prompt": (then.prompt_digest, now.prompt_digest),
        "prompt's text": (then.prompt, now.prompt),
        "group": (then.group, now.group),
        "answers": (len(then.answers), len(now.answers)),
    }
    found = [
        Difference(what=what, receipt=old, now=new, sample=then.id)
        for what, (old, new) in asked.items()
        if old != new
    ]
    for before, after in zip(then.answers, now.answers, strict=False):
        found += _of_answers(then.id, answer_json(before), answer_json(after))
    return found + of_grades("", then.id, then.grades, now.grades)


def _of_answers(id_: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Texts, ids and likelihoods."""
    return [
        Difference(
            what=name, receipt=then.get(name, _ABSENT), now=now.get(name, _ABSENT), sample=id_
        )
        for name in {**then, **now}
        if then.get(name) != now.get(name) and not _tells_no_ids(name, then, now)
    ]


def _tells_no_ids(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Where an endpoint does not tell ids, texts are compared alone."""
    return name == "token_ids" and (name not in old or name not in new)


def unequal(prefix: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Entries of two mappings that are not the same."""
    names = [*then, *(name for name in now if name not in then)]
    return [
        Difference(
            what=f"{prefix}{name}", receipt=then.get(name, _ABSENT), now=now.get(name, _ABSENT)
        )
        for name in names
        if then.get(name, _ABSENT) != now.get(name, _ABSENT)
    ]
