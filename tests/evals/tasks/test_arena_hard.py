"""Arena-Hard: two orders against a stored answer."""

from pathlib import Path

import pytest
from tests.evals.tasks.judging import Script, judging, task_of, with_judge, write

from tongwen.client.http import HttpClient
from tongwen.evals.question import Answer, Generate
from tongwen.evals.sample import Grade, Graded
from tongwen.evals.tasks.arena_hard import ArenaHard, arena_label

PATTERNS = [r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]"]
CONFIG = {"regex_patterns": PATTERNS, "prompt_template": "{QUESTION}|{ANSWER_A}|{ANSWER_B}"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    ids = ("u1", "u2")
    asked = [{"uid": uid, "prompt": f"Do {uid}.", "cluster": "c"} for uid in ids]
    known = [
        {"uid": uid, "messages": [{"role": "user", "content": "?"}, _said(f"old {uid}")]}
        for uid in ids
    ]
    write(tmp_path, "arena_hard/question_v0.1", asked)
    write(tmp_path, "arena_hard/baseline_gpt-4-0314", known)
    write(tmp_path, "arena_hard/judge_config", [CONFIG])
    return tmp_path


def _said(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": {"answer": text}}


def graded(data: Path, script: Script) -> Grade:
    async def work(judge: HttpClient) -> Grade:
        task = task_of(ArenaHard, data, judge=judge)
        return await task.grade(task.samples()[0], Answer(turns=("new",)))

    with judging(script) as bench:
        return with_judge(bench, work)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Final verdict: [[A>>B]]", "A>>B"),
        ("My final verdict is tie: [[A=B]], that is [[A=B]].", "A=B"),
        ("[B>A]", "B>A"),
        ("[[A>B]] or rather [[B>A]]", None),
        ("A>B", None),
        ("[[A>>>B]]", None),
    ],
)
def test_a_verdict_is_one_of_five(text: str, found: str | None) -> None:
    assert arena_label(text, PATTERNS) == found


@pytest.mark.parametrize(
    ("baseline_first", "model_first", "score", "battles"),
    [
        ("[[B>>A]]", "[[A>>B]]", 1.0, 6),
        ("[[A>>B]]", "[[B>>A]]", 0.0, 6),
        ("[[A=B]]", "[[A=B]]", 0.5, 2),
        ("[[A>B]]", "[[A>B]]", 0.5, 2),  # who prefers the first decides nothing
        ("[[A>B]]", "[[A>>B]]", 0.75, 4),
        ("[[B>A]]", "[[A=B]]", 0.75, 2),
    ],
)
def test_both_orders_count_and_a_clear_verdict_three_times(
    data: Path, baseline_first: str, model_first: str, score: float, battles: int
) -> None:
    first = {"Do u1.|old u1|new": baseline_first, "Do u1.|new|old u1": model_first}
    found = graded(data, lambda asked, _: first[asked.rpartition("\n")[2]])
    assert found.score == pytest.approx(score)
    assert found.metrics["battles"] == battles
    assert found.notes["model_first"]["judge"] == "wise"


def test_the_orders_agree_where_they_prefer_the_same_answer_as_much(data: Path) -> None:
    fair = graded(data, lambda asked, _: "[[A>B]]" if "|new|" in asked else "[[B>A]]")
    vain = graded(data, lambda *_: "[[A>B]]")
    assert (fair.metrics["consistent"], vain.metrics["consistent"]) == (1.0, 0.0)


def test_the_figure_is_wins_over_battles_within_its_interval(data: Path) -> None:
    task = task_of(ArenaHard, data)
    one, two = task.samples()
    won = Grade(score=1.0, metrics={"wins": 6.0, "battles": 6.0, "consistent": 1.0})
    lost = Grade(score=0.0, metrics={"wins": 0.0, "battles": 2.0, "consistent": 0.0})
    pairs = [Graded(sample=one, grades=(won,)), Graded(sample=two, grades=(lost,))]
    found = task.figure(pairs)
    assert found.score == pytest.approx(0.75)
    assert (found.metrics["low_95"], found.metrics["high_95"]) == (0.0, 1.0)
    assert found.metrics["consistent"] == 0.5
    assert task.figure(pairs) == found
    many = task.figure(pairs * 200)
    assert many.score == pytest.approx(0.75)
    assert 0.70 < many.metrics["low_95"] < 0.75 < many.metrics["high_95"] < 0.80
    assert many.stderr is not None
    assert many.stderr < 0.03


def test_the_win_rate_is_the_bradley_terry_estimate() -> None:
    """The likelihood of a model's strength is highest where the predicted rate is the observed."""
    import math

    wins, battles = 11.5, 30

    def likelihood(strength: float) -> float:
        rate = 1 / (1 + math.exp(-strength))
        return wins * math.log(rate) + (battles - wins) * math.log(1 - rate)

    best = max((step / 10_000 for step in range(-30_000, 30_000)), key=likelihood)
    assert 1 / (1 + math.exp(-best)) == pytest.approx(wins / battles, abs=1e-4)


def test_the_real_files_give_five_hundred_questions_with_a_baseline(shared: Path) -> None:
    task = task_of(ArenaHard, shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == 500
    assert all(sample.row["baseline"].strip() for sample in samples)
    assert all(isinstance(task.question(sample), Generate) for sample in samples)


def test_the_real_template_shows_both_answers(shared: Path) -> None:
    async def work(judge: HttpClient) -> Grade:
        task = task_of(ArenaHard, shared / "data", judge=judge)
        return await task.grade(task.samples()[0], Answer(turns=("NEW {ANSWER_B}",)))

    with judging(lambda *_: "[[A=B]]") as bench:
        assert with_judge(bench, work).score == 0.5
    asked = [body["messages"][1]["content"] for body in bench.bodies]
    assert all("NEW {ANSWER_B}" in each for each in asked)
    assert asked[0] != asked[1]
