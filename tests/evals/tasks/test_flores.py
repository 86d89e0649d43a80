"""FLORES: every direction out of English and into it, figures of whole corpora."""

from pathlib import Path

import pytest

from tongwen.errors import RequestError
from tongwen.evals.sample import Grade, Graded
from tongwen.evals.tasks.flores import Flores
from tongwen.evals.translation import bleu, chrf, of_corpus, stderr_of_corpus

ROWS = [
    {
        "id": n,
        "sentence_en": f"The {n} birds sing here.",
        "sentence_de": f"Die {n} Vögel singen hier.",
    }
    for n in range(9)
]


@pytest.fixture
def _file(lay):
    lay("flores/devtest", ROWS)


@pytest.mark.usefixtures("_file")
class TestRowsOfOurOwn:
    def test_five_sentences_are_shown_and_not_asked(self, make):
        task = make(Flores, "chrf")
        samples = task.samples()
        assert [sample.group for sample in samples] == ["eng_Latn-deu_Latn"] * 4 + [
            "deu_Latn-eng_Latn"
        ] * 4
        prompt = task.question(samples[0]).prompt
        assert prompt.count("English: ") == prompt.count("German: ") + 1 == 6
        assert prompt.endswith(f"\n\nEnglish: {samples[0].row['source']}\nGerman:")
        assert samples[0].row["source"] not in prompt.rpartition("\n\n")[0]

    def test_a_chat_model_is_told_the_languages(self, make):
        task = make(Flores, "chrf", is_chat=True)
        turns = task.question(task.samples()[-1]).prompt
        assert len(turns) == 11
        assert turns[-1]["content"].startswith("Translate from German into English.")

    def test_the_figure_is_of_the_corpus_and_of_each_direction(self, make, mark):
        task = make(Flores, "chrf")
        graded = []
        for sample in task.samples():
            is_right = sample.group.startswith("eng")
            text = sample.row["target"] if is_right else "zzz"
            graded.append(Graded(sample=sample, grades=(mark(task, sample, f" {text}\n"),)))
        figure = task.figure(graded)
        assert figure.groups == {"eng_Latn-deu_Latn": 1.0, "deu_Latn-eng_Latn": 0.0}
        assert figure.score == 0.5
        assert figure.metrics["from English"] == figure.metrics["chrf"] * 2 == 1.0
        assert figure.metrics["bleu"] == pytest.approx(0.5)

    def test_a_file_without_english_is_refused(self, make, lay):
        lay("flores/devtest", [{"id": 1, "sentence_fra_Latn": "Oui"}] * 7)
        with pytest.raises(RequestError, match="English and another are needed"):
            make(Flores, "chrf").samples()


def test_the_figure_of_a_corpus_is_not_the_mean_over_its_sentences():
    written, references = ["a b c d e f", "x"], ["a b c d e f", "y z"]
    whole = of_corpus(chrf(), written, references)
    single = [of_corpus(chrf(), [w], [r]) for w, r in zip(written, references, strict=True)]
    assert single == [1.0, 0.0]
    assert 0.5 < whole < 1.0
    assert 0 < stderr_of_corpus(chrf(), written, references) < 0.5


def test_chinese_is_cut_into_characters_and_german_into_words():
    assert of_corpus(bleu("zho_Hans"), ["他制作了一个门铃"], ["他制作了一个门铃吗"]) > 0.5
    assert of_corpus(bleu("deu_Latn"), ["eins zwei drei vier"], ["eins zwei drei vier"]) == (
        pytest.approx(1.0)
    )


@pytest.mark.parametrize("is_chat", [False, True])
def test_every_row_can_be_asked_and_its_translation_is_right(
    shared: Path, make, mark, is_chat: bool
):
    task = make(Flores, "chrf", is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 12 * 1007 + 4 * 45
    for sample in samples:
        task.question(sample)
    for sample in samples[::200]:
        assert mark(task, sample, sample.row["target"]).score == pytest.approx(1.0)
        assert mark(task, sample, "§").score < 0.01
    kept = samples[:: len(samples) // 60]
    graded = [
        Graded(sample=one, grades=(Grade(score=0.0, parsed=one.row["target"]),)) for one in kept
    ]
    assert task.figure(graded).score == pytest.approx(1.0)
