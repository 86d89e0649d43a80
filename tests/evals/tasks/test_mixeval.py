"""MixEval: free answers judged, choices read."""

import json
from pathlib import Path

import pytest
from tests.evals.tasks.judging import judging, task_of, with_judge, write

from tongwen.client.http import HttpClient
from tongwen.evals.question import Answer, Generate
from tongwen.evals.sample import Grade, Graded
from tongwen.evals.tasks.mixeval import MixEval, chosen

FREE = {
    "problem_type": "free-form",
    "context": None,
    "prompt": "Which river flows through Cairo?",
    "target": ["Nile", "the Nile"],
    "benchmark_name": "TriviaQA",
}
CHOICE = {
    "problem_type": "multiple-choice",
    "context": "Ada has a cat.",
    "prompt": "What has Ada?",
    "options": ["a dog", "a cat"],
    "target": [1],
    "benchmark_name": "ARC",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mixeval").mkdir()
    (tmp_path / "mixeval/free-form.json").write_text(json.dumps({"0": FREE, "1": FREE}))
    (tmp_path / "mixeval/multiple-choice.json").write_text(json.dumps({"0": CHOICE}))
    return tmp_path


def graded(data: Path, place: int, said: str, verdict: str) -> tuple[Grade, list[str]]:
    async def work(judge: HttpClient) -> Grade:
        task = task_of(MixEval, data, judge=judge)
        return await task.grade(task.samples()[place], Answer(turns=(said,)))

    with judging(lambda *_: verdict) as bench:
        found = with_judge(bench, work)
    return found, [body["messages"][0]["content"] for body in bench.bodies]


def test_free_answers_get_the_share_that_the_judge_gives(data: Path) -> None:
    found, asked = graded(data, 0, "The Nile.", "Right. [[0.5]]")
    assert found.score == 0.5
    assert "- Nile\n- the Nile" in asked[0]
    assert "The Nile." in asked[0]


@pytest.mark.parametrize(("said", "score"), [("B", 1.0), ("A. a dog", 0.0), ("It is a cat!", 1.0)])
def test_a_plain_choice_needs_no_judge(data: Path, said: str, score: float) -> None:
    found, asked = graded(data, 2, said, "unused")
    assert found.score == score
    assert not asked


def test_a_choice_in_other_words_is_read_by_the_judge(data: Path) -> None:
    found, asked = graded(data, 2, "Her companion says meow.", "[[B]]")
    assert (found.score, found.parsed) == (1.0, "B")
    assert "B. a cat" in asked[0]
    none, _ = graded(data, 2, "Her companion sings.", "[[none]]")
    assert (none.score, none.parsed) == (0.0, None)


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("(B)", "B"),
        ("**B**", "B"),
        ("B) a cat", "B"),
        ("The correct answer is B.", "B"),
        ("A cat, I think", "B"),
        ("A dog or a cat", None),
        ("Both", None),
        ("C", None),
    ],
)
def test_the_option_that_an_answer_names(said: str, letter: str | None) -> None:
    assert chosen(said, ["a dog", "a cat"]) == letter


def test_the_figure_is_the_mean_of_both_kinds(data: Path) -> None:
    task = task_of(MixEval, data)
    scores = (1.0, 0.0, 1.0)
    found = task.figure(
        [
            Graded(sample=sample, grades=(Grade(score=score),))
            for sample, score in zip(task.samples(), scores, strict=True)
        ]
    )
    assert found.score == pytest.approx(0.75)
    assert found.metrics["free-form"] == 0.5
    assert found.metrics["multiple-choice"] == 1.0
    assert dict(found.groups) == {"TriviaQA": 0.5, "ARC": 1.0}


def test_rows_as_the_hub_has_them_are_read_too(tmp_path: Path) -> None:
    write(tmp_path, "mixeval/free-form", [{"id": "7", **FREE}])
    write(tmp_path, "mixeval/multiple-choice", [{"id": "7", **CHOICE, "target": ["1"]}])
    task = task_of(MixEval, tmp_path)
    samples = task.samples()
    assert [sample.id for sample in samples] == ["free-form/7", "multiple-choice/7"]
    prompts = [task.question(sample) for sample in samples]
    assert all(isinstance(each, Generate) for each in prompts)
    assert "Ada has a cat.\n\nWhat has Ada?\nA. a dog\nB. a cat" in str(
        prompts[1].prompt[0]["content"] if isinstance(prompts[1], Generate) else ""
    )
