"""The report: one HTML file that needs no network and trusts nothing that a model wrote.

Its only script and its only style are named by their digest in the file's content security policy,
so that nothing else runs whatever the transcripts hold.  These lie in the file as JSON, and the
script puts them on the page as text.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from tongwen.evals.catalogue import is_share
from tongwen.evals.drawing import bar
from tongwen.evals.runs import Run, read_runs
from tongwen.evals.tables import (
    Published,
    Row,
    columns,
    published_text,
    rows,
    samples_text,
    with_error,
)
from tongwen.evals.transcripts import transcripts
from tongwen.evals.wording import score_text

_NOTHING: Published = {}
_TITLE = "What was measured"


def write_page(
    path: Path,
    receipts: Sequence[Path],
    *,
    title: str = _TITLE,
    published: Published = _NOTHING,
) -> None:
    """Write the report of these receipts, whole or not at all.

    Raises:
        RequestError: A receipt or its samples are not there, damaged, or changed since.
    """
    text = page(read_runs(receipts), title=title, published=published)
    partial = path.with_name(path.name + ".new")
    partial.write_text(text, encoding="utf-8", errors="replace")  # lone surrogates have no bytes
    partial.replace(path)


def page(runs: Sequence[Run], *, title: str = _TITLE, published: Published = _NOTHING) -> str:
    """The report of these runs as HTML."""
    style, script = _static("report.css"), _static("report.js")
    return Template(_static("report.html")).substitute(
        policy=escape(_policy(style, script)),
        title=escape(title),
        style=style,
        script=script,
        lead=escape(_lead(runs)),
        results=_results(rows(runs, published)),
        groups="".join(_groups(number, run) for number, run in enumerate(runs)),
        facts="".join(_facts(run) for run in runs),
        data="".join(_data(number, run) for number, run in enumerate(runs)),
    )


def _static(name: str) -> str:
    return (files("tongwen") / "evals" / "static" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_source(script)}'",
            f"style-src '{_source(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",  # text that is parsed as HTML is refused outright
            "trusted-types 'none'",
        )
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _lead(runs: Sequence[Run]) -> str:
    models = list(dict.fromkeys(run.receipt.subject.name for run in runs))
    total = sum(run.receipt.num_samples for run in runs)
    counted = f"{len(runs)} run{'s' if len(runs) != 1 else ''}, {total:,} samples"
    return f"{counted}, of {', '.join(models)}" if models else counted


# ---- results


def _results(found: Sequence[Row]) -> str:
    names = columns(found)
    head = ["Benchmark", "Model", "Score ± standard error", "", *names, "Samples"]
    body = "".join(_result(row, names) for row in found)
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _result(row: Row, names: Sequence[str]) -> str:
    how = f"{row.preset}, {row.shots}-shot"
    drawn = bar(row.score, row.stderr, row.published) if row.is_share else ""
    cells = [
        _cell("Model", escape(row.model), "model"),
        _cell("Score", escape(with_error(row.score, row.stderr, is_share=row.is_share)), "number"),
        _cell("", drawn, "drawn"),
        *(_cell(name, escape(published_text(row, name)), "number") for name in names),
        _cell("Samples", escape(samples_text(row)), "number"),
    ]
    task = f'<th scope="row">{escape(row.task)} <small>{escape(how)}</small></th>'
    return f"<tr>{task}{''.join(cells)}</tr>"


def _cell(label: str, content: str, kind: str = "") -> str:
    return f'<td class="{kind}" data-label="{escape(label)}">{content}</td>'


# ---- groups


def _groups(number: int, run: Run) -> str:
    """The score within each group, the best first."""
    found = run.receipt.figure.groups
    if not found:
        return ""
    share = is_share(run.receipt.settings.task)
    sizes = Counter(record.group for record in run.graded)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    lines = "".join(
        f'<tr><th scope="row"><button type="button" class="group" data-run="{number}" '
        f'data-group="{escape(name)}">{escape(name)}</button></th>'
        f'<td class="drawn">{bar(score) if share else ""}</td>'
        f'<td class="number">{escape(score_text(score, is_share=share))}</td>'
        f'<td class="number">{sizes[name]}</td></tr>'
        for name, score in ordered
    )
    head = '<tr><th scope="col">Group</th><th></th><th scope="col">Score</th>'
    return (
        f"<details open><summary>{escape(name_of(run))}, {len(found)} groups</summary>"
        f'<table class="groups"><thead>{head}<th scope="col">Samples</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></details>"
    )


def name_of(run: Run) -> str:
    """A run, told from the others: `mmlu · qwen2-report · qwen2:0.5b`."""
    receipt = run.receipt
    return f"{receipt.settings.task} · {receipt.settings.preset} · {receipt.subject.name}"


# ---- facts


def _facts(run: Run) -> str:
    parts = "".join(
        f"<h3>{escape(title)}</h3><dl>{_entries(values)}</dl>"
        for title, values in _facts_of(run).items()
        if values
    )
    return f"<details><summary>{escape(name_of(run))}</summary>{parts}</details>"


def _facts_of(run: Run) -> dict[str, Mapping[str, Any]]:
    said, task = run.receipt.to_json(), run.receipt.settings.task
    judge = said["settings"].pop("judged_by")
    names = ("num_samples", "num_failed", "seconds", "version", "format")
    digests = ("digest", "code", "samples_file", "samples_sha256")
    return {
        "Model": said["subject"],
        "Settings": said["settings"],
        "Judge": judge or {},
        "Other metrics": {
            name: score_text(value, is_share=is_share(task, name))
            for name, value in run.receipt.figure.metrics.items()
        },
        "Data, SHA-256": said["data"],
        "Receipt": {name: said[name] for name in (*digests, *names)},
        "Machine": said["machine"],
    }


def _entries(values: Mapping[str, Any]) -> str:
    return "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(_fact(value))}</dd></div>"
        for name, value in values.items()
    )


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


# ---- transcripts


def _data(number: int, run: Run) -> str:
    """A run's samples as JSON that no HTML parser takes for a tag."""
    text = json.dumps(transcripts(run), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c")
    return (
        f'<script type="application/json" class="run" id="run-{number}" '
        f'data-name="{escape(name_of(run))}">{safe}</script>\n'
    )
