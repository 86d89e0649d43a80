"""Translations of a whole test set against their references, by sacrebleu.

Its figures are those of a corpus: not the mean of those of its sentences, so they are computed
once, from all sentences, and their error by drawing sentences anew.
"""

from collections.abc import Sequence
from statistics import stdev
from typing import Protocol, runtime_checkable

import numpy as np

from tongwen.errors import DependencyError
from tongwen.judge.extra import library

_DRAWS = 500

_BY_CHARACTER = ("jpn_Jpan", "tha_Thai", "khm_Khmr", "lao_Laoo", "mya_Mymr")


@runtime_checkable
class Scored(Protocol):
    """sacrebleu's figure."""

    score: float


@runtime_checkable
class Metric(Protocol):
    """One of sacrebleu's metrics.

    The two methods with an underscore are what its own bootstrap is made of, which fails where one
    of the draws has not a single match (sacrebleu 2.6: it averages numbers of two types).
    """

    def corpus_score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> Scored:
        """Of all sentences together."""
        ...

    def sentence_score(self, hypothesis: str, references: Sequence[str]) -> Scored:
        """Of one."""
        ...

    def _extract_corpus_statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> list[list[int]]:
        """What is counted in each sentence."""
        ...

    def _aggregate_and_compute(self, stats: list[list[int]]) -> Scored:
        """The figure of sentences of which this was counted."""
        ...


def spbleu() -> Metric:
    """BLEU over FLORES-101's sentence pieces (Goyal et al., 2021, arXiv 2106.03193).

    Raises:
        DependencyError: A library or the model of the pieces is missing and cannot be fetched.
    """
    metrics = library("sacrebleu.metrics")
    try:
        made: Metric = metrics.BLEU(tokenize="flores101")
    except (ImportError, OSError) as error:
        raise DependencyError(
            f"spBLEU's sentence pieces are not there: {' '.join(str(error).split())}",
            hint="pip install sentencepiece, with a network for the 2.5 MB of its model; "
            "or --preset chrf",
        ) from error
    return made


def chrf() -> Metric:
    """The F-score of character n-grams (Popović, 2015), which needs no tokenizer.

    Raises:
        DependencyError: sacrebleu is missing.
    """
    made: Metric = library("sacrebleu.metrics").CHRF()
    return made


def bleu(language: str) -> Metric:
    """BLEU over words; of languages written without blanks, over characters.

    Raises:
        DependencyError: sacrebleu is missing.
    """
    by_character = "zh" if language.startswith("zho") else "char"
    is_unspaced = language.startswith("zho") or language in _BY_CHARACTER
    tokenize = by_character if is_unspaced else "13a"
    made: Metric = library("sacrebleu.metrics").BLEU(tokenize=tokenize)
    return made


def of_corpus(metric: Metric, written: Sequence[str], references: Sequence[str]) -> float:
    """The figure of a corpus, as a share of 1."""
    return float(metric.corpus_score(list(written), [list(references)]).score) / 100


def stderr_of_corpus(metric: Metric, written: Sequence[str], references: Sequence[str]) -> float:
    """Its standard error: how much it varies over 500 draws of as many sentences, seeded."""
    counted = np.asarray(metric._extract_corpus_statistics(list(written), [list(references)]))
    stream = np.random.default_rng(0)
    places = stream.integers(len(counted), size=(_DRAWS, len(counted)))
    sums = (counted[drawn].sum(axis=0).tolist() for drawn in places)
    return stdev(float(metric._aggregate_and_compute([each]).score) for each in sums) / 100


def of_sentence(written: str, reference: str) -> float:
    """ChrF of one sentence, as a share of 1: a progress report, and no part of the figure."""
    return float(chrf().sentence_score(written, [reference]).score) / 100
