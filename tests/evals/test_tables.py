import json
import re
from pathlib import Path

import pytest
from tests.evals.made import failed, save_run, written

from tongwen.evals.catalogue import is_share
from tongwen.evals.compare import compare
from tongwen.evals.drawing import bar
from tongwen.evals.figure import Figure
from tongwen.evals.page import page
from tongwen.evals.runs import Run, read_runs
from tongwen.evals.tables import as_json, markdown, with_error
from tongwen.evals.wording import change_text, score_text, short


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    records = [written("a", 1.0), written("b", 0.0), failed("c")]
    paths = [
        save_run(tmp_path, records, task="one", model="m:1"),
        save_run(tmp_path, records[:1], task="two", figure=Figure(score=12.345, stderr=None)),
        save_run(tmp_path, records, task="one", model="a|b <i> & \\c\nd"),
    ]
    return read_runs(paths)


def test_markdown_has_a_line_for_each_run_and_what_was_published(runs: list[Run]) -> None:
    text = markdown(runs, {"one": {"card": 0.616}, "three": {"nobody": 0.1}})
    head, rule, *lines = text.splitlines()
    assert head.endswith("| Samples | card |")
    assert rule.count("|") == head.count("|")
    assert lines[0] == "| one | plain | 1 | m:1 | 50.00 ± 50.00 % | 3 (1 failed) | 61.60 % |"
    assert lines[1].startswith("| one | plain | 1 | a\\|b &lt;i> &amp; \\\\c d |")
    assert lines[2] == "| two | plain | 1 | tiny:0.1b | 12.35 | 1 |  |"
    assert len(lines) == 3


def test_json_holds_the_receipts_whole(runs: list[Run]) -> None:
    said = json.loads(json.dumps(as_json(runs, {"one": {"card": 0.616}})))
    assert [each["published"] for each in said["runs"]] == [{"card": 0.616}, {}, {"card": 0.616}]
    assert said["runs"][0]["figure"]["score"] == 0.5
    assert said["runs"][0]["digest"] == runs[0].receipt.to_json()["digest"]


@pytest.mark.parametrize(
    ("score", "stderr", "text"),
    [
        (0.61585, 0.0381, "61.59 ± 3.81 %"),
        (1.0, None, "100.00 %"),
        (12.3456, 0.123, "12.35 ± 0.12"),
        (-40.25, None, "-40.25"),
    ],
)
def test_scores_are_written_as_what_they_are(score: float, stderr: float | None, text: str) -> None:
    assert with_error(score, stderr) == text


def test_what_is_no_share_is_no_percentage() -> None:
    assert with_error(0.85, 0.01, is_share=False) == "0.85 ± 0.01"
    assert with_error(0.85, None, is_share=False) == "0.85"
    assert change_text(0.5, is_share=False) == "+0.5"
    assert score_text(1.5) == "1.5"


@pytest.mark.parametrize(
    ("task", "metric", "share"),
    [
        ("wikitext2", "score", False),
        ("wikitext2", "bits_per_byte", False),
        ("mmlu", "score", True),
        ("mmlu", "micro", True),
        ("nobody's", "score", True),
        ("languages", "bits_per_byte/en", False),
        ("languages", "times_english/en", False),
        ("languages", "echo", True),
        ("mt_bench", "rating_turn_1", False),
        ("safety", "kappa", False),
        ("safety", "agreement", True),
        ("ifeval", "instruction-strict", True),
    ],
)
def test_shares_are_known_by_benchmark_and_name(task: str, metric: str, share: bool) -> None:
    assert is_share(task, metric) is share


def test_a_perplexity_below_one_is_none_in_tables_pages_and_comparisons(tmp_path: Path) -> None:
    figure = Figure(score=0.75, stderr=0.01, metrics={"bits_per_byte": 0.85}, groups={"a": 0.7})
    records = [written("w", 0.75), written("v", 0.5)]
    path = save_run(tmp_path, records, task="wikitext2", figure=figure)
    other = save_run(tmp_path, records, task="wikitext2", model="other", figure=figure)
    runs = read_runs([path, other])
    told = page(runs, published={"wikitext2": {"card": 0.5}})
    told_html = re.sub(r"<(script|style).*?</\1>", "", told, flags=re.DOTALL)
    texts = markdown(runs), compare(*runs).text(), told_html
    for text in texts:
        assert "75" in text
        assert not re.search(r"\.\d\d %", text)
    assert "0.85" in told
    assert 'class="bar"' not in told
    assert '"verdict":"scored"' in told


def test_changes_have_their_sign() -> None:
    assert [change_text(each) for each in (0.1, -0.1, 0.0)] == ["+10.00 %", "-10.00 %", "0.00 %"]
    assert score_text(-0.5) == "-50.00 %"


def test_what_is_long_is_cut_and_what_moves_cursors_is_replaced() -> None:
    assert short("a\n b\tc") == "a b c"
    assert short("x" * 50, 10) == "xxxxxxxxx…"
    assert short(None) == "-"
    assert short("\x1b[2J\u202e") == "\ufffd[2J\ufffd"


def test_a_bar_stays_within_its_bounds() -> None:
    drawn = bar(0.99, 0.2, {'<"card">': 0.5, "too high": 7.0})
    assert 'width="198"' in drawn
    assert "M119.6 10H200" in drawn
    assert "&lt;&quot;card&quot;&gt;: 50.00 %" in drawn
    assert "too high" not in drawn
    assert bar(1.5) == ""
    assert "whisker" not in bar(0.5)
