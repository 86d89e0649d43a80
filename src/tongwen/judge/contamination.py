"""Which texts overlap a benchmark: the two rules of the Qwen2 Technical Report, section 5.2.6.

A text is normalised (symbols fall), cut into words, and then

* for the analysis of a benchmark: does it share any run of 13 words with one of its samples?
* for the filter of training data: is the longest common subsequence with one of its samples at
  least 13 words long, and at least 0.6 of the shorter of the two?

Both are exact here.  A sample can only reach the second rule's length if the words it shares with
the text, each counted as often as both have it, are as many; that bound, taken for all samples at
once from an inverted index, leaves few for the subsequence itself.
"""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

NGRAM = 13
MIN_COMMON = 13
MIN_SHARE = 0.6

# Scripts that write no spaces between words: each of their characters is a word.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What a text has in common with one sample."""

    sample: int
    """The index of the sample among those given."""

    num_common: int
    """Words in common: of the longest common subsequence, or of the shared run."""

    share: float
    """Those as a share of the shorter of text and sample."""


class Index:
    """Samples of a benchmark, ready to be looked for in many texts.

    Args:
        samples: The texts that must not be met, such as a question with its answer.
    """

    def __init__(self, samples: Iterable[str]) -> None:
        self._samples = [words(sample) for sample in samples]
        self._lengths = np.array([len(sample) for sample in self._samples], dtype=np.int64)
        self._ngrams = self._index_ngrams()
        self._places = self._index_words()

    def __len__(self) -> int:
        return len(self._samples)

    def shares_ngram(self, text: str) -> Match | None:
        """The first sample that shares a run of 13 words with `text`, or None.

        The share is that of the 13 words.
        """
        tokens = words(text)
        hits = (self._ngrams.get(ngram) for ngram in ngrams(tokens))
        first = next((hit for hit in hits if hit is not None), None)
        if first is None:
            return None
        shorter = min(len(tokens), int(self._lengths[first]))
        return Match(sample=first, num_common=NGRAM, share=NGRAM / shorter)

    def contaminated(self, text: str) -> Match | None:
        """The first sample whose longest common subsequence with `text` is too long, or None."""
        tokens = words(text)
        for sample in self._candidates(tokens):
            other = self._samples[sample]
            shorter = min(len(tokens), len(other))
            common = num_common(tokens, other)
            if common >= threshold(shorter):
                return Match(sample=sample, num_common=common, share=common / shorter)
        return None

    def _candidates(self, tokens: Sequence[str]) -> list[int]:
        """Samples that share enough words, order aside, to reach the threshold."""
        bound = np.zeros(len(self._samples), dtype=np.int64)
        for word, count in Counter(tokens).items():
            if word in self._places:
                where, counts = self._places[word]
                bound[where] += np.minimum(counts, count)
        shorter = np.minimum(self._lengths, len(tokens))
        needed = np.maximum(MIN_COMMON, np.ceil(MIN_SHARE * shorter - 1e-9)).astype(np.int64)
        return np.flatnonzero(bound >= needed).tolist()

    def _index_ngrams(self) -> dict[tuple[str, ...], int]:
        index: dict[tuple[str, ...], int] = {}
        for number, sample in enumerate(self._samples):
            for ngram in ngrams(sample):
                index.setdefault(ngram, number)
        return index

    def _index_words(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each word the samples that have it, and how often each does."""
        places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, sample in enumerate(self._samples):
            for word, count in Counter(sample).items():
                places[word].append((number, count))
        return {
            word: (np.array([n for n, _ in pairs]), np.array([c for _, c in pairs]))
            for word, pairs in places.items()
        }


def words(text: str) -> list[str]:
    """The words of `text`: small letters, marks and digits; symbols part words and fall.

    Characters of scripts without spaces are words of their own.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(map(_spaced, folded)).split()


def ngrams(tokens: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Every run of 13 tokens."""
    return (tuple(tokens[i : i + NGRAM]) for i in range(len(tokens) - NGRAM + 1))


def threshold(shorter: int) -> int:
    """How long a common subsequence is too long where the shorter text has `shorter` words."""
    return max(MIN_COMMON, math.ceil(MIN_SHARE * shorter - 1e-9))


def num_common(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common subsequence.

    A row of the table is one integer, a bit for each token of the shorter text (Hyyrö, 2004,
    "Bit-parallel LCS-length computation revisited"), so that a row costs a few additions.
    """
    shorter, longer = sorted((left, right), key=len)
    places: defaultdict[str, int] = defaultdict(int)
    for place, token in enumerate(shorter):
        places[token] |= 1 << place
    full = (1 << len(shorter)) - 1
    row = full
    for token in longer:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(shorter) - row.bit_count()


def _spaced(character: str) -> str:
    if unicodedata.category(character)[0] not in "LMN":
        return " "
    code = ord(character)
    unspaced = code > 0xE00 and any(low <= code <= high for low, high in _UNSPACED)
    return f" {character} " if unspaced else character
