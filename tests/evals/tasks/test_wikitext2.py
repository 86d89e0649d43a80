"""WikiText-2: the text as it was, and perplexities of all of it together."""

import asyncio
import math
from pathlib import Path

import pytest

from tongwen.evals.question import Answer, Likelihood
from tongwen.evals.sample import Graded
from tongwen.evals.tasks.wikitext2 import WikiText2

LINES = [
    "",
    " = One = ",
    "",
    " It is one . ",
    " = = A part = = ",
    " More . ",
    "",
    " = Two = ",
    " Two . ",
]


@pytest.fixture(params=["joined", "hub"])
def _file(lay, request):
    """Lines without their ends, as when a file was cut; and as the hub has them."""
    if request.param == "joined":
        lay("wikitext2/test", [{"text": line} for line in [*LINES, ""]])
    else:
        lay("wikitext2/test", [{"text": line and line + "\n"} for line in LINES])


@pytest.mark.usefixtures("_file")
class TestRowsOfOurOwn:
    def test_an_article_goes_from_its_title_to_the_next(self, make):
        one, two = make(WikiText2, "articles").samples()
        assert one.row["text"] == " = One = \n\n It is one . \n = = A part = = \n More . \n\n"
        assert two.row["text"].startswith(" = Two = \n Two . \n")

    def test_gptq_joins_all_lines_with_two_newlines(self, make):
        task = make(WikiText2, "gptq")
        (sample,) = task.samples()
        assert sample.row["text"].startswith("\n\n = One = \n\n\n\n\n It is one . \n\n\n = = A")
        assert sample.row["text"].rstrip("\n").endswith(" = Two = \n\n\n Two . ")
        assert task.question(sample).window == 2048


def test_the_figure_is_of_all_tokens_together(make, lay):
    lay("wikitext2/test", [{"text": line} for line in LINES])
    task = make(WikiText2, "articles")
    graded = []
    for sample, (logprob, tokens) in zip(task.samples(), [(-6.0, 3), (-4.0, 1)], strict=True):
        weight = Likelihood(logprob=logprob, num_tokens=tokens)
        grade = asyncio.run(task.grade(sample, Answer(likelihoods=(weight,))))
        assert grade.score == math.exp(-logprob / tokens)
        graded.append(Graded(sample=sample, grades=(grade,)))
    figure = task.figure(graded)
    size = sum(len(each.sample.row["text"].encode()) for each in graded)
    words = sum(len(each.sample.row["text"].split()) for each in graded)
    assert figure.score == pytest.approx(math.exp(10 / 4))
    assert figure.metrics["bits_per_byte"] == pytest.approx(10 / math.log(2) / size)
    assert figure.metrics["word_perplexity"] == pytest.approx(math.exp(10 / words))
    # Residuals -1.5 and 1.5 nats of two texts with 2 tokens on average.
    assert figure.stderr == pytest.approx(math.exp(2.5) * math.sqrt(4.5 / 2) / 2)


def test_the_articles_are_the_whole_raw_file(shared: Path, make):
    task = make(WikiText2, "articles", root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 62
    rows = task.setup.data.rows("wikitext2/wiki_test_raw")
    raw = "\n".join(row["text"] for row in rows)
    told = "".join(sample.row["text"] for sample in samples)
    assert told.split() == raw.split()
    assert len(make(WikiText2, "gptq", root=shared / "data").samples()) == 1
