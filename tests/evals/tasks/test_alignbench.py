"""AlignBench: a rating in Chinese, two halves of categories."""

from pathlib import Path

import pytest
from tests.evals.tasks.judging import judging, task_of, with_judge, write

from tongwen.client.http import HttpClient
from tongwen.errors import RequestError
from tongwen.evals.question import Answer, Generate
from tongwen.evals.sample import Grade, Graded
from tongwen.evals.tasks.alignbench import AlignBench, total


def row(number: int, category: str, **more: object) -> dict[str, object]:
    return {
        "question_id": number,
        "category": category,
        "subcategory": "x",
        "question": f"问题{number}",
        "reference": f"参考{number}",
        **more,
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [row(1, "数学计算"), row(2, "文本写作"), row(3, "专业能力 "), row(4, "专业能力")]
    write(tmp_path, "alignbench/data_v1.1_release", rows)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("理由。\n{'事实正确性': 9, '综合得分': 8}", 8.0),
        ('{"事实正确性": 9, "综合得分": 7}', 7.0),
        ("例如 {'综合得分': 5}。\n{'综合得分': 3}", 3.0),
        ("综合得分：6", 6.0),
        ("{'综合得分': 11}", None),
        ("{'综合得分': 分数}", None),
        ("8", None),
    ],
)
def test_the_total_is_read_from_the_end(text: str, value: float | None) -> None:
    assert total(text) == value


def test_the_judge_sees_question_reference_and_answer(data: Path) -> None:
    async def work(judge: HttpClient) -> Grade:
        task = task_of(AlignBench, data, judge=judge)
        return await task.grade(task.samples()[1], Answer(turns=("答{案}",)))

    with judging(lambda *_: "好。{'综合得分': 8}") as bench:
        found = with_judge(bench, work)
    assert (found.score, found.parsed) == (0.8, "8")
    asked = bench.bodies[0]["messages"][0]["content"]
    assert all(part in asked for part in ("问题2", "参考2", "答{案}", "文本写作", "创造性"))
    assert "{'事实正确性': 分数, '满足用户需求': 分数" in asked
    assert "{{" not in asked


def test_a_prompt_of_the_data_comes_before_ours(tmp_path: Path) -> None:
    own = row(1, "数学计算", judge_prompt="Q {question} R {reference} A {answer}")
    write(tmp_path, "alignbench/data_release", [own])

    async def work(judge: HttpClient) -> Grade:
        task = task_of(AlignBench, tmp_path, judge=judge)
        return await task.grade(task.samples()[0], Answer(turns=("42",)))

    with judging(lambda *_: "综合得分: 2") as bench:
        assert with_judge(bench, work).score == 0.2
    assert bench.bodies[0]["messages"][0]["content"] == "Q 问题1 R 参考1 A 42"


def test_the_figure_weighs_reasoning_as_much_as_language(data: Path) -> None:
    task = task_of(AlignBench, data)
    scores = (0.2, 0.8, 0.4, 0.8)
    found = task.figure(
        [
            Graded(sample=sample, grades=(Grade(score=score, metrics={"rating": score * 10}),))
            for sample, score in zip(task.samples(), scores, strict=True)
        ]
    )
    assert found.score == pytest.approx((0.2 + (0.8 + 0.6) / 2) / 2)
    assert found.metrics["micro"] == pytest.approx(0.55)
    assert dict(found.groups) == pytest.approx({"数学计算": 0.2, "文本写作": 0.8, "专业能力": 0.6})


def test_every_preset_asks_every_question(data: Path) -> None:
    warmth = {}
    for preset in AlignBench.about.presets:
        task = task_of(AlignBench, data, preset=preset)
        questions = [task.question(sample) for sample in task.samples()]
        warmth[preset] = [q.params.temperature for q in questions if isinstance(q, Generate)]
    assert warmth == {"qwen2-report": [0.0] * 4, "alignbench": [0.1, 0.7, 0.1, 0.1]}


def test_without_data_it_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        task_of(AlignBench, tmp_path).samples()
    assert "THUDM/AlignBench" in str(caught.value.hint)
