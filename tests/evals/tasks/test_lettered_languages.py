"""Exams and reading in many languages: mMMLU, BELEBELE, M3Exam, IndoMMLU, ruMMLU."""

from pathlib import Path

import pytest
from tests.evals.tasks.ranking import lay, pairs_of, prefers, said, task_of, turns_of, whole

from tongwen.errors import RequestError
from tongwen.evals.sample import Graded
from tongwen.evals.tasks.belebele import Belebele
from tongwen.evals.tasks.indommlu import IndoMmlu
from tongwen.evals.tasks.m3exam import M3Exam
from tongwen.evals.tasks.mmmlu import Mmmlu
from tongwen.evals.tasks.rummlu import RuMmlu

OKAPI = {"id": "1", "instruction": "Was ist Tee? ", "answer": "B"}
OKAPI |= {"option_a": "Holz", "option_b": "Getränk", "option_c": "Tier", "option_d": "Stein"}
PASSAGE = {"dialect": "deu_Latn", "flores_passage": "Es regnet.", "question": "Was fällt? "}
PASSAGE |= {f"mc_answer{n}": word for n, word in enumerate(["Laub", "Regen", "Sand", "Eis"], 1)}
PASSAGE |= {"correct_answer_num": "2"}
EXAM = {
    "question_text": "ข้อใดถูก",
    "background_description": ["อ่าน"],
    "options": ["(1) ก", "(2) ข", "(3) ค"],
    "answer_text": "2",
    "need_image": "no",
    "level": "low",
    "subject_category": "thai",
}
INDO = {"subject": "Biologi", "level": "SMA", "soal": "Apa itu teh?", "kunci": "B"}
INDO |= {"jawaban": "A. kayu\nB. minuman\nC. batu", "is_for_fewshot": "0"}
MERA = {"inputs": {"text": "Что такое чай?", "subject": "food_science"}, "outputs": "B"}
MERA["inputs"] |= {"option_a": "дом", "option_b": "напиток", "option_c": "гора", "option_d": "лес"}
NLP_CORE = {"subject": "food_science", "question_ru": "Что такое сыр?", "answer": 3}
NLP_CORE |= {"choices_ru": ["дом", "снег", "гора", "еда"]}


def test_okapi_questions_follow_their_training_rows_and_languages_count_alike(
    tmp_path: Path,
) -> None:
    lay(tmp_path, "mmmlu/de_test", [OKAPI] * 3)
    lay(tmp_path, "mmmlu/de_train", [OKAPI])
    lay(tmp_path, "mmmlu/fr_test", [OKAPI])
    lay(tmp_path, "mmmlu/fr_train", [OKAPI])
    task = task_of(Mmmlu, tmp_path, "harness", shots=1)
    samples = task.samples()
    assert [sample.id for sample in samples] == ["de/0", "de/1", "de/2", "fr/0"]
    problem = "Was ist Tee?\nA. Holz\nB. Getränk\nC. Tier\nD. Stein\nAnswer:"
    assert pairs_of(task, samples[0])[1] == (f"{problem} B\n\n{problem}", " B")
    graded = [
        Graded(sample=sample, grades=(prefers(task, sample, sample.group == "de"),))
        for sample in samples
    ]
    figure = task.figure(graded)
    assert (figure.score, figure.groups) == (0.5, {"de": 1.0, "fr": 0.0})


def test_languages_without_data_are_told(tmp_path: Path) -> None:
    lay(tmp_path, "belebele/deu_Latn", [{**PASSAGE, "link": n} for n in range(7)])
    task = task_of(Belebele, tmp_path)
    assert isinstance(task, Belebele)
    assert "deu_Latn" not in task.not_run()
    assert set(task.not_run()) == set(Belebele.tongues) - {"deu_Latn"}


def test_belebele_shows_rows_that_it_does_not_ask(tmp_path: Path) -> None:
    lay(tmp_path, "belebele/deu_Latn", [{**PASSAGE, "link": n} for n in range(7)])
    task = task_of(Belebele, tmp_path, shots=2)
    assert [sample.row["link"] for sample in task.samples()] == [2, 3, 4, 5, 6]
    text = "P: Es regnet.\nQ: Was fällt?\nA: Laub\nB: Regen\nC: Sand\nD: Eis\nAnswer:"
    sample = task.samples()[0]
    assert pairs_of(task, sample)[0] == (f"{text} B\n\n" * 2 + text, " A")
    assert [prefers(task, sample, place).score for place in range(4)] == [0, 1, 0, 0]


def test_belebele_in_the_harness_shows_the_first_others(tmp_path: Path) -> None:
    lay(tmp_path, "belebele/deu_Latn", [{**PASSAGE, "link": n} for n in range(4)])
    samples = task_of(Belebele, tmp_path, "harness", shots=2).samples()
    shown = [[row["link"] for row in sample.shots] for sample in samples]
    assert shown == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_an_exam_keeps_its_own_labels_and_leaves_pictures_out(tmp_path: Path) -> None:
    picture = {**EXAM, "need_image": "yes"}
    other = {**EXAM, "level": "high", "question_text": "อื่น"}
    lay(tmp_path, "m3exam/thai-questions-test", [EXAM, picture])
    lay(tmp_path, "m3exam/thai-questions-dev", [other, EXAM])
    task = task_of(M3Exam, tmp_path, shots=1)
    (sample,) = task.samples()
    problem = "อ่าน\nข้อใดถูก\n(1) ก\n(2) ข\n(3) ค\nคำตอบ:"
    assert pairs_of(task, sample) == [(f"{problem}2\n\n{problem}", one) for one in "123"]
    assert prefers(task, sample, 1).score == 1
    assert task_of(M3Exam, tmp_path, shots=2).samples()[0].shots == (EXAM, other)


def test_an_exam_may_be_lettered_or_bear_no_labels(tmp_path: Path) -> None:
    options = [["A. yes", "B. no"], ["yes", "no"]]
    rows = [{**EXAM, "options": some, "answer_text": "B"} for some in options]
    lay(tmp_path, "m3exam/english-questions-test", rows)
    lay(tmp_path, "m3exam/english-questions-dev", rows)
    task = task_of(M3Exam, tmp_path, shots=0)
    for sample in task.samples():
        assert [text for _, text in pairs_of(task, sample)] == ["A", "B"]
        assert prefers(task, sample, 1).score == 1


def test_indonesian_questions_follow_those_set_apart_by_their_authors(tmp_path: Path) -> None:
    shown = {**INDO, "is_for_fewshot": "1", "kunci": "C"}
    keyless = {**INDO, "kunci": "E"}
    lay(tmp_path, "indommlu/IndoMMLU", [shown, INDO, keyless])
    task = task_of(IndoMmlu, tmp_path)
    (sample,) = task.samples()
    head = "Ini adalah soal Biologi untuk SMA. Pilihlah salah satu jawaban yang dianggap benar!\n\n"
    problem = "Apa itu teh?\nA. kayu\nB. minuman\nC. batu\nJawaban:"
    assert pairs_of(task, sample)[2] == (f"{head}{problem} C\n\n{problem}", " C")
    assert prefers(task, sample, 1).score == 1
    chat = task_of(IndoMmlu, tmp_path, is_chat=True)
    assert len(turns_of(chat, sample)) == 3
    assert said(chat, sample, "B. minuman").score == 1


def test_russian_questions_are_read_from_either_source(tmp_path: Path) -> None:
    lay(tmp_path, "rummlu/test", [MERA, NLP_CORE])
    lay(tmp_path, "rummlu/dev", [NLP_CORE])
    task = task_of(RuMmlu, tmp_path, shots=1)
    first, second = task.samples()
    assert {first.group, second.group} == {"food science"}
    assert pairs_of(task, first)[0][0].endswith("D. лес\nОтвет:")
    assert "D. еда\nОтвет: D\n\n" in pairs_of(task, first)[0][0]
    assert (prefers(task, first, 1).score, prefers(task, second, 3).score) == (1, 1)


@pytest.mark.parametrize("kind", [Mmmlu, Belebele, M3Exam, IndoMmlu, RuMmlu])
def test_data_that_is_not_there_is_named(kind: type[Mmmlu], tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        task_of(kind, tmp_path).samples()
    assert caught.value.hint == kind.about.obtain


def test_every_question_of_the_real_files_is_asked(shared: Path) -> None:
    whole(task_of(Mmmlu, shared / "data"), 2040 - 5 * 51)
    whole(task_of(Belebele, shared / "data"), 2 * 895)
    whole(task_of(Belebele, shared / "data", "harness"), 2 * 900)
