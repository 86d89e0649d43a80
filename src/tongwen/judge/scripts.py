"""Which language a text is in, and how much of it: by its letters' script, and by lingua.

Languages that have a script of their own are told by it.  Where a script serves several (Latin,
Arabic), each line of 24 letters or more is put to lingua's trigrams, and shorter ones count by
their script; two near pairs (Indonesian and Malay, Tagalog and Cebuano, which lingua lacks) are
told apart by their commonest words in the whole text, so a mixture of a pair goes unseen.  Only the
30 languages of `LANGUAGES`, those that Qwen2's model cards name, are told: a text in another one is
taken for one of these.
"""

import re
import unicodedata
from collections import Counter
from functools import cached_property
from typing import Protocol, runtime_checkable

from tongwen.errors import ConfigError
from tongwen.judge.extra import library

# For each language its scripts, as the names of Unicode characters begin, and lingua's name for it
# where the script does not tell.
LANGUAGES: dict[str, tuple[frozenset[str], str | None]] = {
    **{
        code: (frozenset({"LATIN"}), name)
        for code, name in {
            "en": "ENGLISH",
            "es": "SPANISH",
            "fr": "FRENCH",
            "pt": "PORTUGUESE",
            "de": "GERMAN",
            "it": "ITALIAN",
            "nl": "DUTCH",
            "cs": "CZECH",
            "pl": "POLISH",
            "tr": "TURKISH",
            "vi": "VIETNAMESE",
            "id": "INDONESIAN",
            "ms": "MALAY",
            "tl": "TAGALOG",
            "ceb": None,
        }.items()
    },
    **{
        code: (frozenset({"ARABIC"}), name)
        for code, name in {"ar": "ARABIC", "fa": "PERSIAN", "ur": "URDU"}.items()
    },
    "zh": (frozenset({"CJK", "BOPOMOFO"}), None),
    "ja": (frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}), None),
    "ko": (frozenset({"HANGUL"}), None),
    "ru": (frozenset({"CYRILLIC"}), None),
    "he": (frozenset({"HEBREW"}), None),
    "th": (frozenset({"THAI"}), None),
    "lo": (frozenset({"LAO"}), None),
    "my": (frozenset({"MYANMAR"}), None),
    "km": (frozenset({"KHMER"}), None),
    "hi": (frozenset({"DEVANAGARI"}), None),
    "bn": (frozenset({"BENGALI"}), None),
}

# Words of one language of a pair that the other does not have, or writes otherwise.
_PAIRS = {
    ("id", "ms"): (
        "karena bisa uang mobil kantor ketika sebuah bahwa dapat apa pun siapa pun saat seperti "
        "dalam tanpa pengecualian secara",
        "kerana boleh wang kereta pejabat apabila sebuah bahawa adalah sesiapa tiada hendaklah "
        "mestilah semasa seperti dalam awak ialah dengan cara",
    ),
    ("tl", "ceb"): (
        "ng at ay hindi isang bawat ito kanyang maging upang lahat mga",
        "ug nga kay dili usa matag kini iyang mahimong aron tanan mga",
    ),
}
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
_MIN_LETTERS = 24
_KANA = frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"})


@runtime_checkable
class Detector(Protocol):
    """What `lingua` builds."""

    def detect_language_of(self, text: str) -> object | None:
        """The likeliest language, or None."""
        ...


class Languages:
    """Tells languages; holds lingua's models once they were needed.

    Low accuracy mode is chosen on purpose: 49 MB of memory for these languages against 468 MB,
    0.2 ms a paragraph against 0.4, and the same verdicts on paragraphs of the Declaration of Human
    Rights but for one in a hundred.
    """

    def language_of(self, text: str) -> str | None:
        """The code of the language that most of `text` outside code is in; None without letters."""
        plain = prose(text)
        counts = scripts_of(plain)
        if not counts:
            return None
        if _kana(counts) + counts["CJK"] >= max(counts.values()):
            return "ja" if _kana(counts) > 0.05 * counts["CJK"] else "zh"
        script = max(counts, key=lambda name: counts[name])
        able = [code for code, (scripts, _) in LANGUAGES.items() if script in scripts]
        if len(able) <= 1:
            return able[0] if able else None
        return self._near(self._detected(plain, able), plain)

    def share_in(self, text: str, language: str) -> float:
        """What share of the letters of `text` outside code is `language`, 0 to 1.

        A text without letters, a number say, is in no other language: 1.  Whether an empty
        completion passes is the caller's to say.

        Raises:
            ConfigError: `language` is none of `LANGUAGES`.
            DependencyError: `lingua` is needed and not installed.
        """
        if language not in LANGUAGES:
            raise ConfigError(
                f"language `{language}` is not told here", hint=f"known: {', '.join(LANGUAGES)}"
            )
        plain = prose(text)
        total = sum(scripts_of(plain).values())
        within = sum(self._letters_in(line, plain, language) for line in plain.splitlines())
        return within / total if total else 1.0

    def _letters_in(self, line: str, whole: str, language: str) -> int:
        counts = scripts_of(line)
        scripts, _ = LANGUAGES[language]
        letters = sum(counts[script] for script in scripts)
        if language in ("zh", "ja"):
            return letters if _is_of_east(counts, language, scripts_of(whole)) else 0
        able = [code for code, (theirs, _) in LANGUAGES.items() if theirs == scripts]
        if len(able) == 1 or letters < _MIN_LETTERS:
            return letters
        return letters if self._near(self._detected(line, able), whole) == language else 0

    def _near(self, code: str | None, whole: str) -> str | None:
        """`code`, or the one of its pair that the words of the whole text speak for."""
        for pair, lists in _PAIRS.items():
            if code in pair:
                said = Counter(re.findall(r"\w+", whole.casefold()))
                first, second = (set(words.split()) for words in lists)
                balance = sum(said[word] for word in first - second)
                balance -= sum(said[word] for word in second - first)
                return code if balance == 0 else pair[balance < 0]
        return code

    def _detected(self, text: str, able: list[str]) -> str | None:
        found = self._detectors[LANGUAGES[able[0]][0]].detect_language_of(text)
        codes = {name: code for code, (_, name) in LANGUAGES.items() if name}
        return None if found is None else codes[str(found).rpartition(".")[2]]

    @cached_property
    def _detectors(self) -> dict[frozenset[str], Detector]:
        """One detector for each script that serves several languages."""
        lingua = library("lingua")
        names: dict[frozenset[str], list[str]] = {}
        for scripts, name in LANGUAGES.values():
            if name:
                names.setdefault(scripts, []).append(name)
        build = lingua.LanguageDetectorBuilder.from_languages
        return {
            scripts: build(*(getattr(lingua.Language, name) for name in group))
            .with_low_accuracy_mode()
            .build()
            for scripts, group in names.items()
        }


def prose(text: str) -> str:
    """`text` without its code, fenced or in backticks; letters composed."""
    return unicodedata.normalize("NFKC", _CODE.sub(" ", text))


def scripts_of(text: str) -> Counter[str]:
    """How many letters of each script there are, named as Unicode's characters are."""
    return Counter(
        unicodedata.name(character, "UNKNOWN").partition(" ")[0]
        for character in text
        if character.isalpha()
    )


def _kana(counts: Counter[str]) -> int:
    return sum(counts[name] for name in _KANA)


def _is_of_east(counts: Counter[str], language: str, whole: Counter[str]) -> bool:
    """Whether a line may be Chinese, or Japanese: kana in it, or at least about it, say so.

    A line of Han characters alone, a heading say, follows the whole text while it is short.
    """
    if _kana(counts):
        return language == "ja"
    if language == "zh":
        return counts["CJK"] >= _MIN_LETTERS or not _kana(whole)
    return counts["CJK"] < _MIN_LETTERS and _kana(whole) > 0
