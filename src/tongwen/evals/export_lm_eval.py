"""Runs as lm-evaluation-harness 0.4 writes them with `--log_samples --output_path`.

A directory for each model, in it `results_*.json` and for each benchmark `samples_*_*.jsonl`
(`lm_eval/loggers/evaluation_tracker.py`).  What a receipt does not know is left empty: rows of
benchmarks, their targets, and whether an option was the greedy one.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tongwen.evals.catalogue import less_is_better
from tongwen.evals.question import Answer
from tongwen.evals.record import Record
from tongwen.evals.runs import Run, score_of

_FILTER = "none"


def write_lm_eval(runs: Sequence[Run], directory: Path, when: datetime) -> list[Path]:
    """The files of these runs; returns where they are."""
    date = when.replace(tzinfo=None).isoformat().replace(":", "-")
    written = []
    for model in dict.fromkeys(run.receipt.subject.name for run in runs):
        of_model = [run for run in runs if run.receipt.subject.name == model]
        place = directory / _file_name(model)
        place.mkdir(parents=True, exist_ok=True)
        lines = {run.receipt.settings.task: _samples(run) for run in of_model}
        results = place / f"results_{date}.json"
        text = json.dumps(_results(model, of_model, lines, when), indent=2, ensure_ascii=False)
        results.write_text(text, encoding="utf-8", errors="replace")
        written += [results, *(_write(place, task, date, lines[task]) for task in lines)]
    return written


def _write(place: Path, task: str, date: str, lines: Sequence[Mapping[str, Any]]) -> Path:
    path = place / f"samples_{task}_{date}.jsonl"
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8", errors="replace")
    return path


def _file_name(model: str) -> str:
    return re.sub(r'["<>:/|\\?*\[\]]+', "__", model)


# ---- figures


def _results(
    model: str, runs: Sequence[Run], lines: Mapping[str, list[dict[str, Any]]], when: datetime
) -> dict[str, Any]:
    by_task = {run.receipt.settings.task: run for run in sorted(runs, key=_task)}
    first = runs[0].receipt
    seconds = sum(run.receipt.seconds for run in runs)
    return {
        "results": {task: _figure(run) for task, run in by_task.items()},
        "group_subtasks": {task: [] for task in by_task},
        "configs": {task: _config(run) for task, run in by_task.items()},
        "versions": {task: run.receipt.version for task, run in by_task.items()},
        "n-shot": {task: run.receipt.settings.shots for task, run in by_task.items()},
        "higher_is_better": {
            task: {_metric(run): not less_is_better(task)} for task, run in by_task.items()
        },
        "n-samples": {
            task: {"original": run.receipt.num_samples, "effective": len(run.graded)}
            for task, run in by_task.items()
        },
        "config": _model_config(runs),
        "git_hash": None,
        "date": when.timestamp(),
        "pretty_env_info": json.dumps(dict(first.machine)),
        "transformers_version": None,
        "upper_git_hash": None,
        "task_hashes": {task: _task_hash(lines[task]) for task in by_task},
        "model_source": "tongwen",
        "model_name": model,
        "model_name_sanitized": _file_name(model),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": first.subject.template,
        "total_evaluation_time_seconds": str(seconds),
    }


def _task(run: Run) -> str:
    return run.receipt.settings.task


def _figure(run: Run) -> dict[str, Any]:
    """The score and its standard error, and every other metric."""
    figure = run.receipt.figure
    stderr = "N/A" if figure.stderr is None else figure.stderr
    said: dict[str, Any] = {
        "alias": _task(run),
        f"{_metric(run)},{_FILTER}": figure.score,
        f"{_metric(run)}_stderr,{_FILTER}": stderr,
    }
    for name, value in figure.metrics.items():
        said[f"{name},{_FILTER}"] = value
        said[f"{name}_stderr,{_FILTER}"] = "N/A"
    return said


def _config(run: Run) -> dict[str, Any]:
    settings = run.receipt.settings
    return {
        "task": settings.task,
        "num_fewshot": settings.shots,
        "output_type": _output_type(run),
        "repeats": settings.n,
        "metric_list": [
            {"metric": _metric(run), "higher_is_better": not less_is_better(settings.task)}
        ],
        "metadata": {
            "version": run.receipt.version,
            "preset": settings.preset,
            "receipt": run.receipt.to_json()["digest"],
        },
    }


def _model_config(runs: Sequence[Run]) -> dict[str, Any]:
    receipt = runs[0].receipt
    return {
        "model": "tongwen",
        "model_args": {"pretrained": receipt.subject.name, "numerics": receipt.subject.numerics},
        "model_sha": receipt.subject.weights,
        "batch_size": "auto",
        "batch_sizes": [],
        "device": None,
        "use_cache": None,
        "limit": receipt.settings.limit,
        "bootstrap_iters": 0,
        "gen_kwargs": {"temperature": receipt.settings.temperature},
        "random_seed": receipt.settings.seed,
        "numpy_seed": receipt.settings.seed,
        "torch_seed": receipt.settings.seed,
        "fewshot_seed": receipt.settings.seed,
    }


def _output_type(run: Run) -> str:
    """Which kind of question was asked, by the harness's names."""
    first = next((record for record in run.graded if record.answers), None)
    if first is None or first.answers[0].turns:
        return "generate_until"
    return "loglikelihood_rolling" if isinstance(first.prompt, str) else "multiple_choice"


def _metric(run: Run) -> str:
    kinds = {
        "generate_until": "exact_match",
        "multiple_choice": "acc",
        "loglikelihood_rolling": "perplexity",
    }
    return kinds[_output_type(run)]


# ---- samples


def _samples(run: Run) -> list[dict[str, Any]]:
    """What was graded; samples that failed have no line there either."""
    numbered = all(record.id.isdecimal() for record in run.records)
    return [
        _sample(run, record, int(record.id) if numbered else place)
        for place, record in enumerate(run.records)
        if record.failed is None
    ]


def _sample(run: Run, record: Record, doc_id: int) -> dict[str, Any]:
    doc, target = {"id": record.id, "group": record.group}, ""
    arguments = _arguments(run, record)
    metrics = {**record.grades[0].metrics, _metric(run): score_of(record)}
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": target,
        "arguments": {
            f"gen_args_{place}": {f"arg_{i}": argument for i, argument in enumerate(pair)}
            for place, pair in enumerate(arguments)
        },
        "resps": _resps(record),
        "filtered_resps": _filtered(record),
        "filter": _FILTER,
        "metrics": list(metrics),
        "doc_hash": _sha256(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _sha256(arguments[0][0]),
        "target_hash": _sha256(target),
        **metrics,
    }


def _arguments(run: Run, record: Record) -> list[tuple[Any, ...]]:
    """Of each request: context and continuation, or prompt and how it was gone on with."""
    prompt = record.prompt
    if record.answers[0].turns:
        text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
        temperature = run.receipt.settings.temperature
        return [(text, {"temperature": temperature, "do_sample": temperature > 0})]
    if isinstance(prompt, str):
        return [(prompt,)]
    return [(context, option) for context, option in prompt]


def _resps(record: Record) -> list[Any]:
    if record.answers[0].turns:
        return [[answer.text for answer in record.answers]]
    return [[weight] for weight in _weights(record.answers[0])]


def _filtered(record: Record) -> list[Any]:
    if record.answers[0].turns:
        return [record.grades[0].parsed or ""]
    return list(_weights(record.answers[0]))


def _weights(answer: Answer) -> list[list[str]]:
    """The log-probability of each option; whether it was the greedy one was not looked at."""
    return [[str(each.logprob), str(None)] for each in answer.likelihoods]


def _task_hash(lines: Sequence[Mapping[str, Any]]) -> str:
    parts = (line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines)
    return _sha256("".join(parts))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
