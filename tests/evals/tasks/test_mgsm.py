"""MGSM: headings and exemplars of the question's language, the last number, all alike."""

from pathlib import Path

import pytest

from tongwen.errors import RequestError
from tongwen.evals.sample import Grade, Graded
from tongwen.evals.tasks.mgsm import Mgsm

ROWS = [
    {"lang": "de", "idx": 0, "question": "Zwei plus zwei?", "answer_number": "4"},
    {"lang": "de", "idx": 1, "question": "Zwei plus drei?", "answer_number": "5"},
    {"lang": "ja", "idx": 0, "question": "千足す一は？", "answer_number": "1001"},
]
SHOTS = [
    {"lang": lang, "n": str(n), "q": f"{asks}{n}?", "a": f"{answers}{n}."}
    for lang, asks, answers in (("de", "Frage: ", "Antwort: "), ("ja", "問題：", "答え："))
    for n in range(8)
]


@pytest.fixture
def _files(lay):
    lay("mgsm/test", ROWS)
    lay("mgsm/exemplars", SHOTS)


@pytest.mark.usefixtures("_files")
class TestRowsOfOurOwn:
    def test_the_headings_are_those_of_the_exemplars(self, make):
        task = make(Mgsm)
        german, _, japanese = (task.question(sample) for sample in task.samples())
        assert german.prompt.startswith("Frage: 0?\nAntwort: 0.\n\nFrage: 1?")
        assert german.prompt.endswith("Frage: Zwei plus zwei?\nAntwort:")
        assert german.params.stop == ("Frage:",)
        assert japanese.prompt.endswith("問題：千足す一は？\n答え：")

    def test_without_shots_the_headings_stay(self, make):
        task = make(Mgsm, shots=0)
        assert task.question(task.samples()[0]).prompt == "Frage: Zwei plus zwei?\nAntwort:"

    def test_a_chat_model_sees_eight_turns_of_its_language(self, make):
        task = make(Mgsm, is_chat=True)
        turns = task.question(task.samples()[2]).prompt
        assert len(turns) == 17
        assert turns[1]["content"] == "答え：0."

    @pytest.mark.parametrize(
        ("text", "score"),
        [
            ("1+1000=1,001", 1),
            ("答えは１００１です。", 1),
            ("\\boxed{1001} 円 (2)", 1),
            ("1000", 0),
        ],
    )
    def test_the_last_number_counts_in_any_script(self, make, mark, text, score):
        task = make(Mgsm)
        assert mark(task, task.samples()[2], text).score == score

    def test_german_groups_digits_with_full_stops(self, make, mark, lay):
        lay("mgsm/test", [dict(ROWS[0], answer_number="70000")])
        task = make(Mgsm)
        grade = mark(task, task.samples()[0], "Das macht 70.000 Euro.")
        assert (grade.score, grade.metrics) == (1, {"commas dropped": 0})

    def test_every_language_counts_the_same(self, make):
        task = make(Mgsm)
        scores = (1.0, 1.0, 0.0)
        graded = [
            Graded(sample=sample, grades=(Grade(score=score),))
            for sample, score in zip(task.samples(), scores, strict=True)
        ]
        assert task.figure(graded).score == 0.5

    def test_a_language_without_exemplars_is_refused(self, make, lay):
        lay("mgsm/test", [dict(ROWS[0], lang="xx")])
        with pytest.raises(RequestError, match="`xx`"):
            make(Mgsm).samples()


@pytest.mark.parametrize("is_chat", [False, True])
def test_every_row_can_be_asked_and_its_number_is_right(shared: Path, make, mark, is_chat: bool):
    task = make(Mgsm, is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 2750
    for sample in samples:
        task.question(sample)
        number = sample.row["answer_number"]
        assert mark(task, sample, f"3 + 4 = {number}.").score == 1
        assert mark(task, sample, f"{number}, 987654").score == 0
