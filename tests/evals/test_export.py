import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.evals.made import failed, ranked, save_run, written

from tongwen.errors import RequestError
from tongwen.evals.export import export
from tongwen.evals.figure import Figure
from tongwen.evals.question import Answer, Likelihood
from tongwen.evals.record import Record
from tongwen.evals.runs import Run, read_runs
from tongwen.evals.sample import Grade

WHEN = datetime(2026, 11, 22, 7, 8, 9, 123456)
DATE = "2026-11-22T07-08-09.123456"
Json = dict[str, Any]


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """One benchmark that is ranked and one that is written."""
    chosen = [ranked(str(i), float(i % 2), "law") for i in range(4)]
    wrote = [written(f"w/{i}", float(i > 0), f"answer {i}", why="so") for i in range(3)]
    paths = [
        save_run(tmp_path / "runs", chosen, task="chosen", model="tiny:0.1b"),
        save_run(tmp_path / "runs", [*wrote, failed("w/3")], task="wrote", model="tiny:0.1b"),
    ]
    return read_runs(paths)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lm_eval itself writes of two such tasks, with a model that guesses."""
    path = tmp_path_factory.mktemp("lm_eval")
    rows = [{"q": f"question {i}", "options": ["first", "second"], "key": i % 2} for i in range(4)]
    (path / "rows.json").write_text(json.dumps(rows))
    shared: Json = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path / "rows.json")}},
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "metadata": {"version": 1},
    }
    tasks = {
        "chosen": {"output_type": "multiple_choice", "doc_to_choice": "{{options}}"},
        "wrote": {"output_type": "generate_until", "generation_kwargs": {"until": ["\n"]}},
    }
    for name, more in tasks.items():
        target = "key" if name == "chosen" else "{{options[key]}}"
        text = json.dumps({"task": name, "doc_to_target": target, **shared, **more})
        (path / f"{name}.yaml").write_text(text)
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "dummy",
        "--tasks",
        ",".join(tasks),
    ]
    command += ["--include_path", str(path), "--output_path", str(path / "out"), "--log_samples"]
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(path / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return path / "out"


def one(directory: Path, pattern: str) -> Path:
    (path,) = directory.rglob(pattern)
    return path


def lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shape(value: object) -> object:
    """Of what kind a value is, through lists; numbers are alike."""
    if isinstance(value, list):
        return ["list", shape(value[0]) if value else None]
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.mark.slow
@pytest.mark.parametrize("task", ["chosen", "wrote"])
def test_samples_have_the_keys_and_kinds_of_lm_eval(
    runs: list[Run], theirs: Path, tmp_path: Path, task: str
) -> None:
    export(runs, "lm-eval", tmp_path / "out", when=WHEN)
    ours = lines(one(tmp_path / "out", f"samples_{task}_*.jsonl"))[0]
    known = lines(one(theirs, f"samples_{task}_*.jsonl"))[0]
    theirs_alone = {"acc_norm", "acc_bytes", "exact_match"} - ours.keys()
    assert known.keys() - theirs_alone <= ours.keys()
    for key in known.keys() & ours.keys() - {"doc"}:
        assert shape(ours[key]) == shape(known[key]), key
    argument, other = (each["arguments"]["gen_args_0"] for each in (ours, known))
    assert {name: type(value) for name, value in argument.items()} == {
        name: type(value) for name, value in other.items()
    }


@pytest.mark.slow
def test_results_have_the_keys_and_kinds_of_lm_eval(
    runs: list[Run], theirs: Path, tmp_path: Path
) -> None:
    export(runs, "lm-eval", tmp_path / "out", when=WHEN)
    ours, known = (
        json.loads(one(place, "results_*.json").read_text()) for place in (tmp_path / "out", theirs)
    )
    environment = {"lm_eval_version", "eot_token_id", "max_length", "start_time", "end_time"}
    lacking = known.keys() - ours.keys() - environment
    assert {name for name in lacking if not name.startswith("tokenizer_")} == set()
    for key in known.keys() & ours.keys():
        if known[key] is not None and ours[key] is not None:
            assert shape(ours[key]) == shape(known[key]), key
    for key in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples"):
        assert ours[key].keys() == known[key].keys() == {"chosen", "wrote"}
    assert known["results"]["chosen"].keys() >= {"alias", "acc,none", "acc_stderr,none"}
    assert ours["results"]["chosen"].keys() >= {"alias", "acc,none", "acc_stderr,none"}
    assert known["n-samples"]["chosen"].keys() == ours["n-samples"]["chosen"].keys()


@pytest.mark.slow
def test_the_own_helpers_of_lm_eval_read_it(runs: list[Run], tmp_path: Path) -> None:
    export(runs, "lm-eval", tmp_path / "out", when=WHEN)
    program = """
import glob, json, sys
from lm_eval import utils
names = glob.glob(sys.argv[1] + "/**/*.json*", recursive=True)
(results,) = utils.get_results_filenames(names)
samples = sorted(utils.get_sample_results_filenames(names))
found = json.load(open(results))
rebuilt = {}
for name in samples:
    base = name.rsplit("/", 1)[1]
    rows = [json.loads(line) for line in open(name)]
    text = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
    rebuilt[utils.get_file_task_name(base)] = utils.hash_string(text)
print(json.dumps({
    "tasks": [utils.get_file_task_name(name.rsplit("/", 1)[1]) for name in samples],
    "dates": [utils.get_file_datetime(name.rsplit("/", 1)[1]) for name in samples],
    "folder": results.rsplit("/", 2)[1] == utils.sanitize_model_name(found["model_name"]),
    "hashes": rebuilt == found["task_hashes"],
    "table": utils.make_table(found),
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["tasks"] == ["chosen", "wrote"]
    assert set(said["dates"]) == {DATE}
    assert said["folder"]
    assert said["hashes"]
    assert "|chosen" in said["table"]
    assert "0.5000" in said["table"]


def test_lm_eval_gets_the_scores_of_the_samples(runs: list[Run], tmp_path: Path) -> None:
    paths = export(runs, "lm-eval", tmp_path / "out", when=WHEN)
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == [
        f"tiny__0.1b/results_{DATE}.json",
        f"tiny__0.1b/samples_chosen_{DATE}.jsonl",
        f"tiny__0.1b/samples_wrote_{DATE}.jsonl",
    ]
    results = json.loads(paths[0].read_text())
    chosen, wrote = lines(paths[1]), lines(paths[2])
    assert [line["acc"] for line in chosen] == [0.0, 1.0, 0.0, 1.0]
    assert results["results"]["chosen"]["acc,none"] == 0.5
    assert [line["doc_id"] for line in chosen] == [0, 1, 2, 3]
    assert chosen[0]["arguments"]["gen_args_1"]["arg_1"] == " second"
    assert chosen[0]["resps"] == [[["-1.25", "None"]], [["-2.5", "None"]]]
    assert [line["resps"] for line in wrote] == [[["answer 0"]], [["answer 1"]], [["answer 2"]]]
    assert results["n-samples"]["wrote"] == {"original": 4, "effective": 3}
    assert [line["doc"]["id"] for line in wrote] == ["w/0", "w/1", "w/2"]


def test_opencompass_gets_predictions_results_and_a_table(runs: list[Run], tmp_path: Path) -> None:
    other = save_run(tmp_path / "runs", [written("a", 1.0)], task="wrote", model="b,ig")
    paths = export([*runs, *read_runs([other])], "opencompass", tmp_path / "out", when=WHEN)
    root = tmp_path / "out" / "20261122_070809"
    assert {path.relative_to(root).as_posix() for path in paths} == {
        "predictions/tiny_0.1b/chosen.json",
        "predictions/tiny_0.1b/wrote.json",
        "predictions/b,ig/wrote.json",
        "results/tiny_0.1b/chosen.json",
        "results/tiny_0.1b/wrote.json",
        "results/b,ig/wrote.json",
        "summary/summary_20261122_070809.csv",
    }
    text = (root / "summary" / "summary_20261122_070809.csv").read_text()
    table = list(csv.reader(text.splitlines()))
    assert table[0] == ["dataset", "version", "metric", "mode", "tiny:0.1b", "b ig"]
    assert table[1] == ["chosen", "ffffff", "accuracy", "ppl", "50.00", "-"]
    assert table[2] == ["wrote", "ffffff", "accuracy", "gen", "66.67", "100.00"]
    said = json.loads((root / "predictions" / "tiny_0.1b" / "wrote.json").read_text())
    # `icl_eval` reads them as preds[str(i)] for i in range(len(preds)).
    assert list(said) == ["0", "1", "2"]
    assert said["1"]["prediction"] == "answer 1"
    assert said["1"]["origin_prompt"][0]["role"] == "HUMAN"
    result = json.loads((root / "results" / "tiny_0.1b" / "chosen.json").read_text())
    assert result["accuracy"] == 50.0
    assert [result["details"][str(i)]["correct"] for i in range(4)] == [False, True, False, True]
    assert result["details"]["type"] == "PPL"
    weighed = json.loads((root / "predictions" / "tiny_0.1b" / "chosen.json").read_text())
    assert weighed["0"]["label: second"]["PPL"] == 1.25


@pytest.mark.parametrize("name", ["lm-eval", "opencompass"])
def test_a_perplexity_is_exported_as_it_is(tmp_path: Path, name: str) -> None:
    answer = Answer(likelihoods=(Likelihood(logprob=-40.0, num_tokens=8),))
    record = Record(id="t", prompt="text", answers=(answer,), grades=(Grade(score=-40.0),))
    figure = Figure(score=12.5, stderr=None, metrics={"bits_per_byte": 0.75})
    path = save_run(tmp_path / "runs", [record], task="wikitext2", figure=figure)
    paths = export(read_runs([path]), name, tmp_path / "out", when=WHEN)
    text = "".join(each.read_text() for each in paths)
    assert "12.5" in text
    if name == "lm-eval":
        said = json.loads(paths[0].read_text())
        assert said["higher_is_better"] == {"wikitext2": {"perplexity": False}}
        assert said["results"]["wikitext2"]["perplexity_stderr,none"] == "N/A"


def predictions(path: Path, records: list[Record]) -> list[Json]:
    """What OpenCompass gets of a run of these."""
    run = read_runs([save_run(path / "runs", records, task="chosen")])
    export(run, "opencompass", path / "out", when=WHEN)
    said = json.loads(one(path / "out", "predictions/*/chosen.json").read_text())
    return [said[str(place)] for place in range(len(records))]


def labels(prediction: Json) -> list[str]:
    return [name.removeprefix("label: ") for name in prediction if name.startswith("label: ")]


def with_options(id_: str, parsed: str, *options: str) -> Record:
    record = ranked(id_, 1.0)
    prompt = [[f"{place} before", option] for place, option in enumerate(options)]
    return replace(record, prompt=prompt, grades=(Grade(score=1.0, parsed=parsed),))


def test_options_of_the_same_text_are_told_apart_by_their_places(tmp_path: Path) -> None:
    same = [with_options(str(i), str(i), " was late.", " was late.") for i in (0, 1)]
    found = predictions(tmp_path, same)
    assert [labels(each) for each in found] == [["0", "1"]] * 2
    assert [each["prediction"] for each in found] == ["0", "1"]
    assert found[0]["label: 1"]["prompt"] == "1 before was late."


@pytest.mark.parametrize(
    ("parsed", "options", "label"),
    [
        ("1", (" red", " blue"), "blue"),
        ("blue", (" red", " blue"), "blue"),
        ("B", (" (A)", " (B)"), "(B)"),
        ("1", (" 1", " 0"), "1"),
    ],
)
def test_a_prediction_is_one_of_the_labels(
    tmp_path: Path, parsed: str, options: tuple[str, ...], label: str
) -> None:
    (found,) = predictions(tmp_path, [with_options("0", parsed, *options)])
    assert found["prediction"] == label
    assert label in labels(found)


def test_places_are_places_though_an_option_be_a_number(tmp_path: Path) -> None:
    records = [with_options("0", "1", " red", " blue"), with_options("1", "1", " 1", " 2")]
    assert [each["prediction"] for each in predictions(tmp_path, records)] == ["blue", "2"]


def test_bits_are_no_percentage_for_opencompass(tmp_path: Path) -> None:
    answer = Answer(likelihoods=(Likelihood(logprob=-1.0, num_tokens=8),))
    record = Record(id="t", prompt="text", answers=(answer,), grades=(Grade(score=0.9),))
    metrics = {"bits_per_byte": 0.85, "byte_perplexity": 0.99, "echo": 0.25}
    figure = Figure(score=0.97, stderr=None, metrics=metrics)
    path = save_run(tmp_path / "runs", [record], task="wikitext2", figure=figure)
    export(read_runs([path]), "opencompass", tmp_path / "out", when=WHEN)
    result = json.loads(one(tmp_path / "out", "results/*/wikitext2.json").read_text())
    assert (result["score"], result["bits_per_byte"], result["byte_perplexity"]) == (
        *(0.97, 0.85),
        0.99,
    )
    assert result["echo"] == 25.0
    assert ",0.97\n" in one(tmp_path / "out", "summary_*.csv").read_text()


def test_two_runs_that_would_be_one_are_refused(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has room for one"):
        export([runs[0], runs[0]], "lm-eval", tmp_path / "out")


def test_a_format_that_nobody_knows_is_refused(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no format is called `helm`"):
        export(runs, "helm", tmp_path / "out")
