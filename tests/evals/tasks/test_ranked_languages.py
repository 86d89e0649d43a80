"""Sentences in many languages: XCOPA, XWinograd, XStoryCloze, PAWS-X."""

from pathlib import Path

import pytest
from tests.evals.tasks.ranking import lay, pairs_of, prefers, task_of, whole

from tongwen.errors import RequestError
from tongwen.evals.task import Task
from tongwen.evals.tasks.paws_x import PawsX
from tongwen.evals.tasks.xcopa import XCopa
from tongwen.evals.tasks.xstory_cloze import XStoryCloze
from tongwen.evals.tasks.xwinograd import XWinograd

COPA = {"premise": "Piove.", "choice1": "Esco.", "choice2": "Resto qui.", "label": 1}
COPA |= {"question": "effect"}
GAP = {"sentence": "Max traf Tom, weil _ lachte.", "option1": "Max", "option2": "Tom"}
STORY = {f"input_sentence_{n}": f"Satz {n}." for n in range(1, 5)}
STORY |= {"sentence_quiz1": "Ende.", "sentence_quiz2": "Anfang.", "answer_right_ending": 2}
PAWS = {"sentence1": "Er ging , und kam .", "sentence2": "Er kam ( nicht ) .", "label": "0"}


def winograd(text: str, pronoun: str, place: int, lang: str = "en") -> dict[str, object]:
    answers = [["Ann", [0, 1], ["Ann"], False], ["Eve", [2, 3], ["Eve"], True]]
    named = [pronoun, [place, place + 1], [pronoun]]
    return {"lang": lang, "text": text, "pronoun": named, "answers": answers}


@pytest.mark.parametrize("is_joined", [True, False])
def test_a_premise_leads_to_either_sentence(tmp_path: Path, is_joined: bool) -> None:
    prefix, row = ("xcopa/", {**COPA, "lang": "it"}) if is_joined else ("xcopa/it_", COPA)
    lay(tmp_path, f"{prefix}test", [row])
    lay(tmp_path, f"{prefix}val", [{**row, "question": "cause"}])
    task = task_of(XCopa, tmp_path, shots=1)
    (sample,) = task.samples()
    context = "Piove perché resto qui.\n\nPiove quindi"
    assert pairs_of(task, sample) == [(context, " esco."), (context, " resto qui.")]
    assert prefers(task, sample, 1).score == 1


def test_a_gap_is_filled_with_either_name(tmp_path: Path) -> None:
    lay(tmp_path, "xwinograd/fr_test", [{**GAP, "answer": str(n)} for n in (1, 2)])
    task = task_of(XWinograd, tmp_path, shots=1)
    (sample,) = task.samples()
    told = "Max traf Tom, weil Max lachte.\n\nMax traf Tom, weil "
    assert pairs_of(task, sample) == [(told + "Max", " lachte."), (told + "Tom", " lachte.")]
    assert (sample.id, prefers(task, sample, 1).score) == ("fr/0", 1)


def test_of_several_pronouns_alike_the_one_at_the_place_is_meant(tmp_path: Path) -> None:
    text = "Ann told Eve that she saw it, and she smiled, as she does."
    rows = [winograd(text, "she", place) for place in (4, 9, 12)]
    lay(tmp_path, "xwinograd/dataset", rows)
    task = task_of(XWinograd, tmp_path, shots=0)
    rests = [pairs_of(task, sample)[0][1] for sample in task.samples()]
    assert rests == [" saw it, and she smiled, as she does.", " smiled, as she does.", " does."]


def test_pronouns_are_found_between_letters_without_blanks(tmp_path: Path) -> None:
    ends = winograd("Ann 笑了他", "他", 3, "jp")
    wrong = winograd("因为他笑了。", "为", 1, "zh")
    row = winograd("Ann和Eve说他笑了。", "他", 3, "jp")
    lay(tmp_path, "xwinograd/dataset", [row, ends, wrong])
    task = task_of(XWinograd, tmp_path, shots=0)
    (sample,) = task.samples()
    assert pairs_of(task, sample) == [("Ann和Eve说Ann", " 笑了。"), ("Ann和Eve说Eve", " 笑了。")]
    assert [prefers(task, sample, place).score for place in (0, 1)] == [0, 1]


def test_a_story_has_two_endings(tmp_path: Path) -> None:
    lay(tmp_path, "xstory_cloze/es_eval", [STORY])
    task = task_of(XStoryCloze, tmp_path)
    (sample,) = task.samples()
    story = "Satz 1. Satz 2. Satz 3. Satz 4."
    assert pairs_of(task, sample) == [(story, " Ende."), (story, " Anfang.")]
    assert prefers(task, sample, 1).score == 1
    assert isinstance(task, XStoryCloze)
    assert len(task.not_run()) == 10


def test_two_sentences_are_joined_by_yes_and_no(tmp_path: Path) -> None:
    lay(tmp_path, "paws_x/de_test", [{**PAWS, "sentence1": ""}, PAWS])
    lay(tmp_path, "paws_x/de_train", [{**PAWS, "label": "1"}])
    task = task_of(PawsX, tmp_path, shots=1)
    (sample,) = task.samples()
    no, yes = "Er ging, und kam, richtig? Nein, er kam (nicht).", "Er ging, und kam, richtig? Ja, "
    told = f"{yes}er kam (nicht).\n\n"
    assert pairs_of(task, sample) == [(told, no), (told, f"{yes}er kam (nicht).")]
    assert prefers(task, sample, 0).score == 1
    with pytest.raises(RequestError, match="solved row"):
        task_of(PawsX, tmp_path, shots=0)


@pytest.mark.parametrize("kind", [XCopa, XWinograd, XStoryCloze, PawsX])
def test_data_that_is_not_there_is_named(kind: type[Task], tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        task_of(kind, tmp_path).samples()
    assert caught.value.hint == kind.about.obtain


@pytest.mark.parametrize("preset", ["qwen2-report", "harness"])
def test_every_question_of_the_real_files_is_asked(shared: Path, preset: str) -> None:
    whole(task_of(XCopa, shared / "data", preset), 5500)
    whole(task_of(PawsX, shared / "data", preset), 1900)
    count = len(task_of(XWinograd, shared / "data", preset).samples())
    whole(task_of(XWinograd, shared / "data", preset), count)
    assert count > 3900
