"""Languages and code switching: what is asked, and what an answer is worth."""

import asyncio
import math
from pathlib import Path

import pytest
from tests.evals.tasks.judging import task_of, write

from tongwen.engine.guards import LanguageGuard
from tongwen.errors import RequestError
from tongwen.evals.asked import NAMES, QUESTIONS
from tongwen.evals.question import Answer, Generate, Likelihood, Weigh
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.tasks.code_switching import SCRIPTS, CodeSwitching
from tongwen.evals.tasks.languages import Languages
from tongwen.judge.scripts import LANGUAGES
from tongwen.judge.scripts import Languages as Tell

pytest.importorskip("lingua", reason="languages of one script are told by lingua")

GERMAN = "Reis wird in Wasser gekocht, bis er weich ist, und dann eine Weile stehen gelassen."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"lang": "en", "text": "abc" * 30}, {"lang": "de", "text": "äbc" * 30}]
    write(tmp_path, "corpus/udhr_multilingual", [{**row, "file": "x"} for row in rows])
    return tmp_path


def grade_of(task: Languages | CodeSwitching, sample: Sample, answer: Answer) -> Grade:
    return asyncio.run(task.grade(sample, answer))


def sample_of(task: Languages | CodeSwitching, name: str) -> Sample:
    return next(sample for sample in task.samples() if sample.id == name)


def languages(data: Path) -> Languages:
    task = task_of(Languages, data)
    assert isinstance(task, Languages)
    return task


def switching(data: Path, preset: str = "free") -> CodeSwitching:
    task = task_of(CodeSwitching, data, preset=preset)
    assert isinstance(task, CodeSwitching)
    return task


def test_the_languages_are_those_that_are_told() -> None:
    assert NAMES.keys() == QUESTIONS.keys() == LANGUAGES.keys()
    assert SCRIPTS.keys() == LANGUAGES.keys() - {"lo", "my", "km", "bn"}


@pytest.mark.parametrize("language", NAMES)
def test_every_question_is_in_its_language(language: str) -> None:
    tell = Tell()
    for question in QUESTIONS[language]:
        assert tell.share_in(question, language) >= 0.95


def test_the_guard_knows_every_script() -> None:
    for scripts in SCRIPTS.values():
        assert LanguageGuard(scripts).push(0, "abc") is None


def test_texts_are_weighed_by_the_byte(data: Path) -> None:
    task = languages(data)
    sample = sample_of(task, "text/de")
    assert task.question(sample) == Weigh(text="äbc" * 10)
    likelihood = Likelihood(logprob=-20 * math.log(2), num_tokens=19)
    found = grade_of(task, sample, Answer(likelihoods=(likelihood,)))
    assert found.metrics["bits_per_byte"] == pytest.approx(0.5)
    assert found.metrics["bytes_per_token"] == 2.0


def test_answers_in_another_language_count_for_nothing(data: Path) -> None:
    task = languages(data)
    german, french = sample_of(task, "question/de/1"), sample_of(task, "question/fr/1")
    assert grade_of(task, german, Answer(turns=(GERMAN,))).score == 1.0
    assert grade_of(task, french, Answer(turns=(GERMAN,))).score == 0.0
    assert grade_of(task, german, Answer(turns=("",))).score == 0.0


def test_a_repeated_question_is_no_answer(data: Path) -> None:
    task = languages(data)
    sample = sample_of(task, "question/de/0")
    asked = sample.row["question"]
    for said in (asked, asked.partition("?")[0] + " ?"):
        found = grade_of(task, sample, Answer(turns=(said,)))
        assert (found.score, found.metrics["echo"]) == (0.0, 1.0)
    longer = grade_of(task, sample, Answer(turns=(f"{asked} Weil sie sonst müde werden.",)))
    assert longer.score == 1.0


def test_the_figure_has_shares_and_measures_by_language(data: Path) -> None:
    task = languages(data)
    graded = []
    for sample in task.samples():
        if sample.group in ("en", "de"):
            tokens = 14 if sample.group == "en" else 29
            likelihood = Likelihood(logprob=-5.0, num_tokens=tokens)
            answer = Answer(turns=(GERMAN,), likelihoods=(likelihood,))
            graded.append(Graded(sample=sample, grades=(grade_of(task, sample, answer),)))
    found = task.figure(graded)
    assert dict(found.groups) == {"en": 0.0, "de": 1.0}
    assert found.score == 0.5
    assert found.metrics["times_english/de"] == 2.0
    assert found.metrics["bytes_per_token/en"] == 2.0
    with pytest.raises(RequestError, match="no question"):
        task.figure([each for each in graded if "text" in each.sample.row])


def test_the_real_corpus_has_every_language(shared: Path) -> None:
    samples = task_of(Languages, shared / "data").samples()
    assert len({sample.id for sample in samples}) == len(samples) == 3 * len(NAMES)


def test_a_switch_in_the_middle_fails_and_code_does_not_count(data: Path) -> None:
    task = switching(data)
    sample = sample_of(task, "ru/code")
    russian = "Эта программа складывает все нечётные числа меньше десяти и печатает сумму. "
    code = "```python\ntotal = sum(numbers)\nprint(total)  # a long English comment\n```"
    assert grade_of(task, sample, Answer(turns=(russian + code,))).score == 1.0
    assert grade_of(task, sample, Answer(turns=(russian + "然后它会打印结果。",))).score == 0.0


def test_the_guard_is_asked_for_where_the_preset_says_so(data: Path) -> None:
    guards = {}
    for preset in CodeSwitching.about.presets:
        task = switching(data, preset)
        for name in ("ru/sleep", "ru/code"):
            question = task.question(sample_of(task, name))
            assert isinstance(question, Generate)
            guards[preset, name] = tuple(question.params.language_guard)
    assert guards == {
        ("free", "ru/sleep"): (),
        ("free", "ru/code"): (),
        ("guarded", "ru/sleep"): ("Cyrillic",),
        ("guarded", "ru/code"): ("Cyrillic", "Latin"),
    }


def test_an_answer_that_the_guard_ended_is_told_apart(data: Path) -> None:
    task = switching(data, "guarded")
    sample = sample_of(task, "ru/rice")
    answer = Answer(turns=("Рис варят в воде. ",), finish_reason="language")
    found = grade_of(task, sample, answer)
    assert (found.score, found.metrics["ended"]) == (1.0, 1.0)


def test_every_template_is_asked_in_every_language(data: Path) -> None:
    samples = switching(data).samples()
    assert len({sample.id for sample in samples}) == len(samples) == 5 * len(SCRIPTS)
    assert all("{" not in sample.row["question"] for sample in samples)
