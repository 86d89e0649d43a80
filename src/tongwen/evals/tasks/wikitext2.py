"""WikiText-2: how likely articles are to a model (Merity et al., 2016, arXiv 1609.07843)."""

import math
import re
from collections.abc import Sequence

from tongwen.evals.figure import Figure, standard_error
from tongwen.evals.question import Answer, Question, Weigh
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Task

WINDOW = 2048
"""Tokens that are looked at together: GPTQ's, and since then everybody's."""

_TITLE = re.compile(r" = [^=].* = \n?")


class WikiText2(Task):
    """Perplexity of the raw test text; the first token of each window counts for nothing."""

    about = About(
        title="WikiText-2",
        paper="https://arxiv.org/abs/1609.07843",
        licence="CC BY-SA 3.0, GFDL",
        files=(("wikitext2/test", "wikitext2/wiki_test_raw"),),
        obtain="`Salesforce/wikitext` on the Hugging Face hub, wikitext-2-raw-v1",
        metric="perplexity of tokens, in windows of 2048; less is better",
        less_is_better=True,
        is_share=False,
        takes_shots=False,
        presets={
            "articles": Preset(
                source="the 62 articles, each in windows of its own",
                base="likelihood of the text",
            ),
            "gptq": Preset(
                source="GPTQ (arXiv 2210.17323), datautils.py: all lines in one text, cut into "
                "windows",
                base="likelihood of the text",
            ),
        },
        hub={
            "wikitext2/test": (
                "Salesforce/wikitext",
                "wikitext-2-raw-v1/test-00000-of-00001.parquet",
            )
        },
    )

    def samples(self) -> list[Sample]:
        """The articles, or the one text of all lines."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        lines = [_line(row["text"]) for row in rows]
        if self.setup.preset == "gptq":
            while not lines[-1] and not lines[-2]:  # what joining with newlines leaves at the end
                lines.pop()
            return [Sample(id="all", row={"text": "\n\n".join(lines)})]
        articles = _articles([line or "\n" for line in lines])
        return [Sample(id=str(number), row={"text": text}) for number, text in enumerate(articles)]

    def question(self, sample: Sample) -> Question:
        """How likely the text is."""
        return Weigh(text=sample.row["text"], window=WINDOW)

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Its perplexity, and what the figure is made of."""
        (found,) = answer.likelihoods
        text = sample.row["text"]
        return Grade(
            score=math.exp(-found.logprob / found.num_tokens),
            notes={
                "logprob": found.logprob,
                "tokens": found.num_tokens,
                "words": len(text.split()),
                "bytes": len(text.encode()),
            },
        )

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """Of all texts together: every token counts the same."""
        logprob, tokens, words, size = (
            _values(graded, name) for name in ("logprob", "tokens", "words", "bytes")
        )
        nats = -sum(logprob) / sum(tokens)
        perplexity = math.exp(nats)
        # Of a ratio of sums, by what each text adds to it; of its exponential, by the slope.
        rests = [-one - nats * count for one, count in zip(logprob, tokens, strict=True)]
        error = standard_error(rests)
        average = sum(tokens) / len(tokens)
        return Figure(
            score=perplexity,
            stderr=None if error is None else perplexity * error / average,
            metrics={
                "word_perplexity": math.exp(-sum(logprob) / sum(words)),
                "byte_perplexity": math.exp(-sum(logprob) / sum(size)),
                "bits_per_byte": -sum(logprob) / sum(size) / math.log(2),
            },
        )


def _line(text: str) -> str:
    """A line as the hub has it: with its end, but empty where there is nothing on it."""
    if not text.strip():
        return ""
    return text if text.endswith("\n") else text + "\n"


def _articles(lines: list[str]) -> list[str]:
    """The lines from each title to the next."""
    articles: list[list[str]] = []
    for line in lines:
        if _TITLE.fullmatch(line):
            articles.append([])
        if articles:
            articles[-1].append(line)
    return ["".join(article) for article in articles]


def _values(graded: Sequence[Graded], name: str) -> list[float]:
    return [float(each.grades[0].notes[name]) for each in graded]
