import json
from pathlib import Path

import pytest
from tests.evals.made import failed, save_run, written

from tongwen.evals.drawing import bar
from tongwen.evals.figure import Figure
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
