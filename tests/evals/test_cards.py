"""Cards: the published figures, the lines that are composed, the tables in three forms."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evals.made import failed, save_run, written

from tongwen.errors import RequestError
from tongwen.evals.beside import published_beside
from tongwen.evals.cards import Measured, card, safety_table
from tongwen.evals.catalogue import TASKS
from tongwen.evals.figure import Figure
from tongwen.evals.measure import SuiteResult
from tongwen.evals.published import BASE, INSTRUCT, TABLES, published
from tongwen.evals.receipt import read_receipt
from tongwen.evals.suites import SUITES, Part, Row, Suite, suite_named
from tongwen.evals.table import Line, Table
from tongwen.evals.trial import Result

BASE_CARD, CHAT_CARD = SUITES["card-base"], SUITES["card-instruct"]


def cells_of(table: Table, title: str) -> dict[str, str]:
    line = next(line for line in table.lines if line.cells[0] == title)
    return dict(zip(table.header, line.cells, strict=True))


@pytest.mark.parametrize(
    ("model", "benchmark", "values"),
    [
        ("Qwen2-0.5B", "MMLU", [45.4, 44.3]),
        ("Qwen2-72B", "Multi-Translation", [37.8]),
        ("Qwen2-72B-Instruct", "GSM8K", [93.2, 91.1]),
        ("Qwen2-7B-Instruct", "GPQA", [34.3, 25.3]),
        ("Qwen2-0.5B-Instruct", "HumanEval", [29.9, 17.1, 31.1]),
        ("Qwen2.5-Coder-0.5B-Instruct", "HumanEval", [61.6]),
        ("GPT-4", "safety/pornography", [23.63]),
        ("DeepSeek-V2", "GPQA", []),
    ],
)
def test_figures_are_those_of_the_sources(model: str, benchmark: str, values: list[float]) -> None:
    found = published(models=[model], benchmark=benchmark)
    assert [each.value for each in found] == values
    assert all(each.source for each in found)


def test_every_figure_of_the_shared_tables_is_here(shared: Path) -> None:
    """The tables of base models in the facts, cell by cell."""
    text = (shared / "QWEN2.md").read_text("utf-8")
    section = text.partition("### 6.2")[2].partition("Re-measured")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ") and "---" not in line
    ]
    sizes, rows = rows[0][1:], rows[1:]
    assert len(rows) == 21
    for title, *values in rows:
        for size, value in zip(sizes, values, strict=True):
            found = published(models=[f"Qwen2-{size}"], benchmark=title)
            printed = [each.value for each in found if "Report" in each.source]
            assert printed == ([] if value in "–-" else [float(value)]), (title, size)


def test_no_source_prints_two_figures_of_one_thing() -> None:
    keys = [(e.model, e.benchmark, e.source) for table in TABLES for e in table.figures()]
    assert len(set(keys)) == len(keys)


def test_lines_stand_as_on_the_card_ours_first() -> None:
    table = card(BASE_CARD, [Measured("mine", {"mmlu": Figure(score=0.4321, stderr=0.004)})])
    assert table.header[1:7] == (
        "mine",
        *("Qwen2-72B", "Qwen2-57B-A14B", "Qwen2-7B", "Qwen2-1.5B", "Qwen2-0.5B"),
    )
    assert [line.cells[0] for line in table.lines] == [row.title for row in BASE_CARD.rows]
    found = cells_of(table, "MMLU")
    assert (found["mine"], found["Qwen2-0.5B"], found["Llama-3-8B"]) == (
        "43.2 ± 0.4",
        "45.4",
        "66.6",
    )
    assert cells_of(table, "GSM8K")["mine"] == "not run"
    assert cells_of(table, "GPQA")["Qwen2-0.5B"] == "-"


def test_ratings_stand_on_their_scale() -> None:
    results = {"mt_bench": Figure(score=0.5512, stderr=0.02)}
    table = card(CHAT_CARD, [Measured("mine", results)], ["Qwen2-7B-Instruct"])
    assert cells_of(table, "MT-Bench")["mine"] == "5.51 ± 0.20"
    assert cells_of(table, "MT-Bench")["Qwen2-7B-Instruct"] == "8.41"


def test_where_card_and_report_differ_both_are_printed() -> None:
    table = card(CHAT_CARD, [], ["Qwen2-72B-Instruct", "Qwen2-0.5B-Instruct"])
    assert cells_of(table, "GSM8K")["Qwen2-72B-Instruct"] == "91.1 (93.2)"
    assert cells_of(table, "HumanEval")["Qwen2-0.5B-Instruct"] == "17.1 (29.9)"
    assert cells_of(table, "MMLU")["Qwen2-0.5B-Instruct"] == "37.9"


def test_a_composed_line_is_the_mean_of_its_parts_and_same_questions_err_alike() -> None:
    parts = ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus")
    scores = dict(zip(parts, (0.6, 0.5, 0.4, 0.3), strict=True))
    results = {name: Figure(score=score, stderr=0.02) for name, score in scores.items()}
    table = card(BASE_CARD, [Measured("mine", results)], [])
    assert (
        cells_of(table, "EvalPlus")["mine"] == "45.0 ± 1.4"
    )  # two kinds of questions: 0.02 / sqrt(2)
    del results["mbpp_plus"]
    table = card(BASE_CARD, [Measured("mine", results)], [])
    assert cells_of(table, "EvalPlus")["mine"] == "not run"
    assert "Not run on mine: mbpp_plus" in table.notes


def test_the_first_leaderboard_averages_its_six() -> None:
    suite = SUITES["open-llm-leaderboard-v1"]
    results = {part.task: Figure(score=0.5, stderr=0.01) for part in suite.parts}
    results["mmlu"] = Figure(score=0.5, stderr=0.01, groups={"law": 0.2, "music": 0.6})
    table = card(suite, [Measured("mine", results)])
    assert cells_of(table, "MMLU")["mine"] == "40.0"
    assert cells_of(table, "Average")["mine"] == "48.3"
    assert cells_of(card(suite, [Measured("mine", {})]), "Average")["mine"] == "not run"


def test_the_second_leaderboard_counts_from_chance() -> None:
    suite = SUITES["open-llm-leaderboard-v2"]
    results = {
        "gpqa": Figure(score=0.4, stderr=0.03),
        "ifeval": Figure(score=0.2, stderr=0.01, metrics={"instruction-strict": 0.4}),
        "math": Figure(score=0.2, stderr=0.01, metrics={"level_5": 0.07}),
    }
    table = card(suite, [Measured("mine", results)])
    assert cells_of(table, "GPQA")["mine"] == "20.0 ± 4.0"
    assert cells_of(table, "IFEval")["mine"] == "30.0"
    assert cells_of(table, "MATH level 5")["mine"] == "7.0"
    results["math"] = Figure(score=0.2, stderr=0.01, metrics={"level_4": 0.1})
    table = card(suite, [Measured("mine", results)])
    assert cells_of(table, "MATH level 5")["mine"] == "not run"
    assert "Not run on mine: math (level_5)" in table.notes


def test_suites_and_their_models_are_named() -> None:
    with pytest.raises(RequestError) as caught:
        suite_named("card-bse")
    assert "`card-base`" in str(caught.value.hint)
    with pytest.raises(RequestError, match="`GPT-9`"):
        card(BASE_CARD, [], ["GPT-9"])


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_every_benchmark_of_a_suite_has_the_preset_that_it_asks_for(suite: Suite) -> None:
    for part in suite.parts:
        if part.task in TASKS:
            assert part.preset in TASKS[part.task].about.presets, part.task


@pytest.mark.parametrize("suite", [BASE_CARD, CHAT_CARD], ids=lambda suite: suite.name)
def test_every_published_benchmark_has_its_line(suite: Suite) -> None:
    titles = {row.title for row in suite.rows} | {"HumanEval+", "MBPP+"}
    tables = BASE if suite is BASE_CARD else INSTRUCT
    assert {each.benchmark for table in tables for each in table.figures()} <= titles


def test_safety_stands_by_language_and_category() -> None:
    figure = Figure(
        score=0.1,
        stderr=0.1,
        metrics={"agreement": 0.8, "kappa": 0.5, "illegal": 0.1},
        groups={"illegal/en": 0.05, "illegal/zh": 0.15},
    )
    table = safety_table([Measured("mine", {"safety": figure})])
    assert table.header == ("", "illegal", "fraud", "pornography", "privacy")
    assert cells_of(table, "en")["illegal"] == "5.00"
    assert cells_of(table, "th") == {"": "th", **dict.fromkeys(table.header[1:], "not run")}
    assert cells_of(table, "all")["illegal"] == "10.00"
    assert cells_of(table, "Qwen2-72B-Instruct")["pornography"] == "22.91"
    assert "mine: judge and refusal rule agree on 80 %, kappa 0.50" in table.notes


TABLE = Table(
    title="A & B",
    header=("", "mine_1", "theirs"),
    lines=[
        Line(cells=("x|y", "1.0 ± 0.1", "50%"), section="One"),
        Line(cells=("z", "not run", "-"), section="Two"),
    ],
    notes=["All of it"],
)


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = [line for line in TABLE.markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 6
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert len({len(line) for line in lines}) == 1
    assert TABLE.markdown().endswith("- All of it\n")


def test_csv_is_read_back() -> None:
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows == [
        ["section", "", "mine_1", "theirs"],
        ["One", "x|y", "1.0 ± 0.1", "50%"],
        ["Two", "z", "not run", "-"],
    ]


def test_latex_escapes_what_it_must() -> None:
    text = TABLE.latex()
    assert r"\caption{A \& B}" in text
    assert r"x|y & 1.0 $\pm$ 0.1 & 50\% \\" in text
    assert r" & mine\_1 & theirs \\" in text
    assert text.count(r"\midrule") == 2
    assert r"\begin{tabular}{lrr}" in text


def test_a_line_may_have_no_error() -> None:
    row = Row(title="r", parts=(Part(task="t"), Part(task="u")))
    results = {"t": Figure(score=0.2, stderr=0.1), "u": Figure(score=0.4, stderr=None)}
    assert row.value(results) == (pytest.approx(30.0), None)


def test_what_failed_and_what_was_drawn_stands_below_a_card(tmp_path: Path) -> None:
    records = [written("a", 1.0), written("b", 0.0), failed("c")]
    receipt = read_receipt(save_run(tmp_path, records, task="mmlu"))
    drawn = replace(receipt, settings=replace(receipt.settings, limit=3))
    results = [Result(receipt=drawn, records=records, path=tmp_path)]
    whole = SuiteResult(suite=BASE_CARD, name="mine", results=results, missing={})
    notes = whole.table().notes
    assert "mine: 1 of 3 samples of mmlu failed, and are not in its figure" in notes
    assert "mine: of each benchmark 3 samples at most, drawn by a seed" in notes
    assert not any("failed" in note or "drawn" in note for note in card(BASE_CARD, []).notes)


def test_published_figures_are_found_by_benchmark_in_the_unit_of_ours() -> None:
    found = published_beside([False])
    assert found["mmlu"]["Qwen2-7B"] == pytest.approx(0.703)
    assert "Qwen2-7B-Instruct" not in found["mmlu"]
    both = published_beside([True, False])
    assert both["mmlu"]["Qwen2-7B-Instruct"] == pytest.approx(0.705)
    assert both["mt_bench"]["Qwen2-72B-Instruct"] == pytest.approx(0.912)
    assert "m3exam" not in both  # published with others as one mean
    assert "mmmlu" not in both  # of other languages
    assert "mmmlu" in published_beside([True], as_printed=True)
