"""MT-Bench: two turns, the second judged in sight of the first."""

import asyncio
from pathlib import Path

import pytest
from tests.evals.tasks.judging import BROKEN, Bench, judging, task_of, with_judge, write

from tongwen.client.http import HttpClient
from tongwen.errors import RequestError, SourceError
from tongwen.evals import trial
from tongwen.evals.catalogue import TASKS
from tongwen.evals.question import Answer, Generate
from tongwen.evals.sample import Grade, Graded
from tongwen.evals.subject import Subject
from tongwen.evals.tasks.mt_bench import MtBench

PROMPTS = [
    {"name": "single-v1", "system_prompt": "S", "prompt_template": "1:{question}\n{answer}"},
    {
        "name": "single-v1-multi-turn",
        "system_prompt": "S",
        "prompt_template": "2:{question_1}\n{answer_1}\n{question_2}\n{answer_2}",
    },
    {
        "name": "single-math-v1",
        "system_prompt": "S",
        "prompt_template": "m1:{question}\n{ref_answer_1}\n{answer}",
    },
    {
        "name": "single-math-v1-multi-turn",
        "system_prompt": "S",
        "prompt_template": "m2:{question_1}\n{ref_answer_1}\n{ref_answer_2}\n{answer_2}",
    },
]
QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Praise tea.", "Shorter."]},
    {"question_id": 2, "category": "math", "turns": ["2+2?", "Plus 1?"]},
]
KNOWN = [{"question_id": 2, "choices": [{"index": 0, "turns": ["It is 4.", "It is 5."]}]}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path, "mt_bench/question", QUESTIONS)
    write(tmp_path, "mt_bench/reference_answer_gpt-4", KNOWN)
    write(tmp_path, "mt_bench/judge_prompts", PROMPTS)
    return tmp_path


def graded(data: Path, bench: Bench, place: int, turns: tuple[str, ...]) -> Graded:
    async def work(judge: HttpClient) -> Graded:
        task = task_of(MtBench, data, judge=judge)
        sample = task.samples()[place]
        return Graded(sample=sample, grades=(await task.grade(sample, Answer(turns=turns)),))

    return with_judge(bench, work)


def by_turn(asked: str, _: int) -> str:
    return "Fine. [[9]]" if "1:" in asked else "Less so. Rating: [[6]]"


def test_the_score_is_the_mean_of_both_turns(data: Path) -> None:
    with judging(by_turn) as bench:
        found = graded(data, bench, 0, ("Tea is good.", "Tea!")).grades[0]
    assert found.score == pytest.approx(0.75)
    assert found.parsed == "9 6"
    assert dict(found.metrics) == {"rating": 7.5, "rating_turn_1": 9.0, "rating_turn_2": 6.0}
    first, second = found.notes["turns"]
    assert first["asked"][1]["content"] == "1:Praise tea.\nTea is good."
    assert second["asked"][1]["content"] == "2:Praise tea.\nTea is good.\nShorter.\nTea!"


def test_mathematics_is_judged_against_its_reference(data: Path) -> None:
    with judging(by_turn) as bench:
        graded(data, bench, 1, ("4", "5"))
    assert [body["messages"][1]["content"] for body in bench.bodies] == [
        "m1:2+2?\nIt is 4.\n4",
        "m2:2+2?\nIt is 4.\nIt is 5.\n5",
    ]


def test_a_turn_without_a_rating_fails_the_sample(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tongwen.evals.verdict.Tries.wait_s", lambda *_: 0.0)
    with judging(lambda asked, _: "[[9]]" if "1:" in asked else "hm") as bench:  # noqa: SIM117
        with pytest.raises(SourceError, match="no verdict"):
            graded(data, bench, 0, ("a", "b"))


def test_a_run_counts_what_is_not_judged_apart(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tongwen.evals.verdict.Tries.wait_s", lambda *_: 0.0)
    monkeypatch.setitem(TASKS, "mt_bench", MtBench)
    subject = Subject(
        name="pupil",
        where="there",
        weights=None,
        tokenizer=None,
        template=None,
        numerics=None,
        is_chat=True,
    )

    async def run(model: HttpClient, judge: HttpClient) -> trial.Result:
        bench = trial.Bench(client=model, subject=subject, judge=judge)
        config = trial.EvalConfig(data=data, out=tmp_path)
        try:
            return await trial.run_task("mt_bench", bench, config, lambda _: None)
        finally:
            await model.close()
            await judge.close()

    def undecided(asked: str, _: int) -> str | bytes:
        return BROKEN if "m2:" in asked else "[[8]]"

    with judging(lambda *_: "an answer") as model, judging(undecided) as judge:
        found = asyncio.run(run(model.client(), judge.client()))
    assert (found.receipt.num_samples, found.receipt.num_failed) == (2, 1)
    assert found.figure.score == pytest.approx(0.8)
    assert "no verdict in 4 tries" in str(found.records[1].failed)
    assert found.receipt.settings.judge == "wise"


def test_the_figure_has_the_scale_of_the_card_and_the_categories(data: Path) -> None:
    task = task_of(MtBench, data)
    pairs = zip(task.samples(), (9.0, 4.0), strict=True)
    found = task.figure(
        [
            Graded(sample=sample, grades=(Grade(score=value / 10, metrics={"rating": value}),))
            for sample, value in pairs
        ]
    )
    assert found.score == pytest.approx(0.65)
    assert found.metrics["rating"] == pytest.approx(6.5)
    assert dict(found.groups) == {"writing": 0.9, "math": 0.4}


def test_fastchat_writes_stories_warmer_than_sums(data: Path) -> None:
    warmth = {}
    for preset in MtBench.about.presets:
        task = task_of(MtBench, data, preset=preset)
        questions = [task.question(sample) for sample in task.samples()]
        assert all(isinstance(each, Generate) for each in questions)
        warmth[preset] = [
            each.params.temperature for each in questions if isinstance(each, Generate)
        ]
    assert warmth == {"qwen2-report": [0.0, 0.0], "fastchat": [0.7, 0.0]}


def test_without_a_judge_it_says_so(data: Path) -> None:
    with pytest.raises(RequestError, match="judged by a model"):
        _ = task_of(MtBench, data).judge


def test_the_real_files_give_eighty_conversations(shared: Path) -> None:
    task = task_of(MtBench, shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == 80
    for sample in samples:
        question = task.question(sample)
        assert isinstance(question, Generate)
        assert len(question.follow_ups) == 1


def test_the_real_prompts_show_the_judge_everything(shared: Path) -> None:
    with judging(lambda *_: "[[5]]") as bench:

        async def work(judge: HttpClient) -> None:
            task = task_of(MtBench, shared / "data", judge=judge)
            for sample in task.samples()[::7]:
                await task.grade(sample, Answer(turns=("FIRST {x}", "SECOND")))

        with_judge(bench, work)
    asked = [body["messages"][1]["content"] for body in bench.bodies]
    assert len(asked) == 24
    assert all("FIRST {x}" in each for each in asked)
    assert all("SECOND" in each for each in asked[1::2])
