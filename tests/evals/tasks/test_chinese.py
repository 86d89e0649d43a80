"""C-Eval and CMMLU ask in Chinese, subject by subject."""

from pathlib import Path

import pytest
from tests.evals.tasks.ranking import lay, pairs_of, prefers, said, task_of, turns_of, whole

from tongwen.errors import RequestError
from tongwen.evals.sample import Graded
from tongwen.evals.task import Task
from tongwen.evals.tasks.ceval import CEval
from tongwen.evals.tasks.cmmlu import Cmmlu

WORDS = {"A": "鱼", "B": "茶", "C": "山", "D": "书"}
ARCHIVE = {"id": 0, "question": "什么能喝？ ", **WORDS, "answer": "B"}
JOINED = {"subject": "law", "question": "什么能读？", "options": WORDS, "ground_truth": "D"}
CMMLU_ROW = {"subject": "arts", "Question": "什么能喝？ ", **WORDS, "Answer": "B"}
PROBLEM = "什么能喝？\nA. 鱼\nB. 茶\nC. 山\nD. 书\n答案："


def test_ceval_reads_the_archive_of_its_authors(tmp_path: Path) -> None:
    lay(tmp_path, "ceval/val/law_val", [ARCHIVE])
    lay(tmp_path, "ceval/dev/law_dev", [{**ARCHIVE, "answer": "C"}])
    head = "以下是中国关于法学的单项选择题，请选出其中的正确答案。\n\n"
    for preset, blank in (("qwen2-report", ""), ("harness", " ")):
        task = task_of(CEval, tmp_path, preset, shots=1)
        (sample,) = task.samples()
        context = f"{head}{PROBLEM}{blank}C\n\n{PROBLEM}"
        assert pairs_of(task, sample) == [(context, blank + letter) for letter in "ABCD"]
        assert (sample.group, prefers(task, sample, 1).score) == ("law", 1)


def test_ceval_without_a_dev_part_sets_five_rows_of_each_subject_apart(tmp_path: Path) -> None:
    rows = [{**JOINED, "id": number} for number in range(7)]
    lay(tmp_path, "ceval/val", rows)
    samples = task_of(CEval, tmp_path).samples()
    assert [sample.row["id"] for sample in samples] == [5, 6]
    assert [row["id"] for row in samples[0].shots] == [0, 1, 2, 3, 4]


def test_cmmlu_reads_its_rows_and_its_archive(tmp_path: Path) -> None:
    lay(tmp_path, "cmmlu/test/arts", [CMMLU_ROW])
    lay(tmp_path, "cmmlu/dev/arts", [CMMLU_ROW])
    task = task_of(Cmmlu, tmp_path, "harness", shots=1)
    (sample,) = task.samples()
    head = "以下是关于艺术学的单项选择题，请直接给出正确答案的选项。\n\n"
    assert pairs_of(task, sample)[1] == (f"{head}{PROBLEM} B\n\n{PROBLEM}", " B")
    assert prefers(task, sample, 1).score == 1


def test_a_chat_model_answers_in_chinese(tmp_path: Path) -> None:
    lay(tmp_path, "cmmlu/test", [CMMLU_ROW])
    lay(tmp_path, "cmmlu/dev", [CMMLU_ROW])
    task = task_of(Cmmlu, tmp_path, is_chat=True, shots=1)
    (sample,) = task.samples()
    assert len(turns_of(task, sample)) == 3
    texts = ("B", "答案是B。", "正确答案：（B）", "故选 B", "A", "我不知道")
    assert [said(task, sample, text).score for text in texts] == [1, 1, 1, 1, 0, 0]


def test_every_subject_counts_the_same_but_in_the_harness(tmp_path: Path) -> None:
    rows = [{**CMMLU_ROW, "subject": subject} for subject in ("arts", "arts", "arts", "law")]
    lay(tmp_path, "cmmlu/test", rows)
    lay(tmp_path, "cmmlu/dev", rows)
    for preset, score in (("qwen2-report", 0.5), ("harness", 0.25)):
        task = task_of(Cmmlu, tmp_path, preset, shots=0)
        samples = task.samples()
        places = [0, 0, 0, 1]
        graded = [
            Graded(sample=sample, grades=(prefers(task, sample, place),))
            for sample, place in zip(samples, places, strict=True)
        ]
        assert task.figure(graded).score == score


@pytest.mark.parametrize("kind", [CEval, Cmmlu])
def test_data_that_is_not_there_is_named(kind: type[Task], tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        task_of(kind, tmp_path).samples()
    assert caught.value.hint == kind.about.obtain


@pytest.mark.parametrize("preset", ["qwen2-report", "harness"])
@pytest.mark.parametrize(("kind", "count", "subjects"), [(CEval, 1086, 52), (Cmmlu, 11_582, 67)])
def test_every_question_of_the_real_files_is_asked(
    shared: Path, kind: type[Task], count: int, subjects: int, preset: str
) -> None:
    samples = whole(task_of(kind, shared / "data", preset), count)
    assert len({sample.group for sample in samples}) == subjects
    assert {len(sample.shots) for sample in samples} == {5}
