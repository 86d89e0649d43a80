"""Translations of a whole test set against their references, by sacrebleu.

Its figures are those of a corpus: not the mean of those of its sentences, so they are computed
once, from all sentences, and their error by drawing sentences anew.
"""

import json
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tongwen.errors import DependencyError
from tongwen.judge.extra import library

_DRAWS = 500
_HALF_WIDTH = 1.96
"""Of a 95 % interval, in standard errors."""

_BY_CHARACTER = ("jpn_Jpan", "tha_Thai", "khm_Khmr", "lao_Laoo", "mya_Mymr")


@runtime_checkable
class Scored(Protocol):
    """sacrebleu's figure."""

    score: float

    def format(self, width: int = 2, *, signature: str = "", is_json: bool = False) -> str:
        """As text; as JSON with its interval."""
        ...


@runtime_checkable
class Metric(Protocol):
    """One of sacrebleu's metrics."""

    def corpus_score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], n_bootstrap: int = 1
    ) -> Scored:
        """Of all sentences together."""
        ...

    def sentence_score(self, hypothesis: str, references: Sequence[str]) -> Scored:
        """Of one."""
        ...

    def get_signature(self) -> object:
        """What it depends on."""
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
    return metric.corpus_score(list(written), [list(references)]).score / 100


def stderr_of_corpus(metric: Metric, written: Sequence[str], references: Sequence[str]) -> float:
    """Its standard error, from 500 draws of the sentences with sacrebleu's seed."""
    score = metric.corpus_score(list(written), [list(references)], n_bootstrap=_DRAWS)
    said = json.loads(score.format(width=6, is_json=True, signature=str(metric.get_signature())))
    # Of a corpus without one matching n-gram it tells no interval.
    half: float = said.get("confidence_var", 0.0)
    return half / _HALF_WIDTH / 100


def of_sentence(written: str, reference: str) -> float:
    """ChrF of one sentence, as a share of 1: a progress report, and no part of the figure."""
    return chrf().sentence_score(written, [reference]).score / 100
