"""Runs as OpenCompass 0.4 lays them down in its working directory.

`predictions/MODEL/BENCHMARK.json` has what was asked and answered, `results/MODEL/BENCHMARK.json`
the figure with its details, `summary/summary_*.csv` the table: `opencompass/tasks/openicl_eval.py`,
`opencompass/summarizers/default.py`, `opencompass/openicl/icl_inferencer/`.  Figures are
percentages there.  References are left out: a receipt holds no rows of benchmarks.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tongwen.evals.catalogue import is_share
from tongwen.evals.record import Record
from tongwen.evals.runs import Run, score_of


def write_opencompass(runs: Sequence[Run], directory: Path, when: datetime) -> list[Path]:
    """The working directory of these runs; returns the files."""
    time = when.strftime("%Y%m%d_%H%M%S")
    root = directory / time
    written = []
    for run in runs:
        for folder, said in (("predictions", _predictions(run)), ("results", _result(run))):
            path = root / folder / _plain(_model(run)) / f"{_plain(_task(run))}.json"
            _write(path, json.dumps(said, indent=4, ensure_ascii=False))
            written.append(path)
    summary = root / "summary" / f"summary_{time}.csv"
    _write(summary, _csv(_table(runs)))
    return [*written, summary]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="replace")


def _plain(name: str) -> str:
    return re.sub(r'[\\/:*?"<>|]', "_", name)


def _model(run: Run) -> str:
    return run.receipt.subject.name


def _task(run: Run) -> str:
    return run.receipt.settings.task


# ---- predictions


def _predictions(run: Run) -> dict[str, Any]:
    by_text = _by_text(run)
    return {
        str(place): _prediction(record, by_text=by_text) for place, record in enumerate(run.graded)
    }


def _prediction(record: Record, *, by_text: bool) -> dict[str, Any]:
    if record.answers[0].turns:
        texts = [answer.text for answer in record.answers]
        return {
            "origin_prompt": _turns(record.prompt),
            "prediction": texts[0] if len(texts) == 1 else texts,
        }
    if isinstance(record.prompt, str):
        return {"origin_prompt": record.prompt, "PPL": _perplexities(record)[0]}
    labels = _labels(record)
    options = {
        f"label: {label}": {
            "testing input": option,
            "prompt": context + option,
            "PPL": perplexity,
        }
        for label, (context, option), perplexity in zip(
            labels, record.prompt, _perplexities(record), strict=True
        )
    }
    return {**options, "prediction": _chosen(record, labels, by_text=by_text)}


def _texts(record: Record) -> list[str]:
    return [option.strip() for _, option in record.prompt]


def _labels(record: Record) -> list[str]:
    """What options are told apart by: their texts, their places where two have the same."""
    texts = _texts(record)
    return texts if len(set(texts)) == len(texts) else [str(place) for place in range(len(texts))]


def _by_text(run: Run) -> bool:
    """Whether the answers of a run that ranks are texts of options; else they are places."""
    return all(_parsed(each) in _keys(each) for each in run.graded if _is_ranked(each))


def _keys(record: Record) -> list[str]:
    """The texts of options as answers have them: the letter without its brackets."""
    return [text.strip("()") for text in _texts(record)]


def _parsed(record: Record) -> str:
    return str(record.grades[0].parsed).strip("()")


def _is_ranked(record: Record) -> bool:
    return not record.answers[0].turns and not isinstance(record.prompt, str)


def _chosen(record: Record, labels: Sequence[str], *, by_text: bool) -> str:
    """The label of the option that was taken."""
    parsed = _parsed(record)
    if by_text:
        return labels[_keys(record).index(parsed)]
    return labels[int(parsed)] if parsed.isdecimal() and int(parsed) < len(labels) else parsed


def _perplexities(record: Record) -> list[float]:
    """Mean negative log-probability of a token, which OpenCompass calls so."""
    return [-each.logprob / each.num_tokens for each in record.answers[0].likelihoods]


def _turns(prompt: object) -> Any:  # noqa: ANN401 - JSON
    """A text as it is; a conversation in OpenCompass's words for roles."""
    if isinstance(prompt, Mapping):
        prompt = prompt["conversation"]
    if not isinstance(prompt, list):
        return prompt
    roles = {"system": "SYSTEM", "user": "HUMAN", "assistant": "BOT"}
    return [
        {"role": roles.get(turn["role"], turn["role"]), "prompt": turn["content"]}
        for turn in prompt
    ]


# ---- results


def _result(run: Run) -> dict[str, Any]:
    figure, by_text = run.receipt.figure, _by_text(run)
    details = {
        str(place): _detail(record, by_text=by_text) for place, record in enumerate(run.graded)
    }
    return {
        _metric(run): _figure(run, figure.score),
        **{name: _figure(run, value, name) for name, value in figure.metrics.items()},
        "details": {"type": "GEN" if _mode(run) == "gen" else "PPL", **details},
    }


def _detail(record: Record, *, by_text: bool) -> dict[str, Any]:
    said = _prediction(record, by_text=by_text)
    prompt = said.get("origin_prompt")
    return {
        **({} if prompt is None else {"prompt": prompt}),
        "origin_prediction": said.get("prediction"),
        "predictions": str(said["prediction"] if _is_ranked(record) else record.grades[0].parsed),
        "correct": score_of(record) >= 1,
    }


def _metric(run: Run) -> str:
    """Scores that are shares are called accuracy, as most datasets there do."""
    share = is_share(_task(run)) and 0 <= run.receipt.figure.score <= 1
    return "accuracy" if share else "score"


def _figure(run: Run, value: float, metric: str = "score") -> float:
    """A share as a percentage, anything else as it is."""
    return 100 * value if is_share(_task(run), metric) and abs(value) <= 1 else value


def _mode(run: Run) -> str:
    first = next((record for record in run.graded if record.answers), None)
    return "gen" if first is None or first.answers[0].turns else "ppl"


# ---- summary


def _table(runs: Sequence[Run]) -> list[list[str]]:
    """A line for each benchmark, a column for each model."""
    models = list(dict.fromkeys(_model(run) for run in runs))
    found = {(_task(run), _model(run)): run for run in runs}
    lines = [["dataset", "version", "metric", "mode", *models]]
    for task in dict.fromkeys(_task(run) for run in runs):
        first = next(run for run in runs if _task(run) == task)
        cells = [found.get((task, model)) for model in models]
        values = [
            "-" if run is None else f"{_figure(run, run.receipt.figure.score):.2f}" for run in cells
        ]
        lines.append([task, first.receipt.code[:6], _metric(first), _mode(first), *values])
    return lines


def _csv(table: Sequence[Sequence[str]]) -> str:
    """Without quotes, as there: a comma within a cell becomes a blank."""
    return "".join(",".join(cell.replace(",", " ") for cell in row) + "\n" for row in table)
