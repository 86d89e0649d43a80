"""One function for each of the 25 kinds of instruction (Zhou et al., 2023, arXiv:2311.07911).

A rule takes the completion, the row's arguments for it, and what counts words and sentences.
The table `RULES` at the end gives each its identifier in the data.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tongwen.errors import ConfigError
from tongwen.judge.instructions.text import Texts

Arguments = Mapping[str, Any]
Rule = Callable[[str, Arguments, Texts], bool]

CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def compare(count: int, relation: str, limit: int) -> bool:
    """Whether `count` stands to `limit` as `relation` says.

    Raises:
        ConfigError: `relation` is neither `at least` nor `less than`.
    """
    if relation == "at least":
        return count >= limit
    if relation == "less than":
        return count < limit
    raise ConfigError(f"unknown relation `{relation}`", hint="use `at least` or `less than`")


def found(phrase: str, text: str) -> list[str]:
    """Where `phrase` occurs in `text`, large or small letters alike."""
    return re.findall(re.escape(phrase.strip()), text, re.IGNORECASE)


def keywords(text: str, of: Arguments, _: Texts) -> bool:
    """Every keyword occurs, be it inside another word."""
    return all(found(keyword, text) for keyword in of["keywords"])


def keyword_frequency(text: str, of: Arguments, _: Texts) -> bool:
    """The keyword occurs so often, counted inside other words too."""
    return compare(len(found(of["keyword"], text)), of["relation"], of["frequency"])


def forbidden_words(text: str, of: Arguments, _: Texts) -> bool:
    """None of the words occurs as a whole word."""
    return not any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in of["forbidden_words"]
    )


def letter_frequency(text: str, of: Arguments, _: Texts) -> bool:
    """The letter, or another symbol, occurs so often, large or small."""
    count = text.lower().count(of["letter"].strip().lower())
    return compare(count, of["let_relation"], of["let_frequency"])


def response_language(text: str, of: Arguments, texts: Texts) -> bool:
    """The whole is in the language; a text without letters passes."""
    return texts.language(text) in (of["language"], None)


def number_sentences(text: str, of: Arguments, texts: Texts) -> bool:
    """So many sentences."""
    return compare(len(texts.sentences(text)), of["relation"], of["num_sentences"])


def number_words(text: str, of: Arguments, texts: Texts) -> bool:
    """So many words."""
    return compare(texts.words(text), of["relation"], of["num_words"])


def number_paragraphs(text: str, of: Arguments, _: Texts) -> bool:
    """Exactly so many paragraphs between `***`; only the first and the last piece may be blank."""
    pieces = [piece.strip() for piece in text.split("***")]
    if not all(pieces[1:-1]):
        return False
    return sum(map(bool, pieces)) == of["num_paragraphs"]


def nth_paragraph_first_word(text: str, of: Arguments, _: Texts) -> bool:
    """Exactly so many paragraphs between blank lines, and the nth begins with the word."""
    pieces = text.split("\n\n")
    count, nth = sum(bool(piece.strip()) for piece in pieces), of["nth_paragraph"]
    if nth > count or not pieces[nth - 1].strip():
        return False
    word = pieces[nth - 1].split()[0].lstrip("'").lstrip('"').lower()
    first = re.split(r"[.,?!'\"]", word)[0]
    return count == of["num_paragraphs"] and first == of["first_word"].lower()


def number_placeholders(text: str, of: Arguments, _: Texts) -> bool:
    """At least so many `[placeholders]`."""
    return len(re.findall(r"\[.*?\]", text)) >= of["num_placeholders"]


def postscript(text: str, of: Arguments, _: Texts) -> bool:
    """A postscript; the two usual marks may have a space in them."""
    marker = of["postscript_marker"].strip()
    usual = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(re.search(usual.get(marker, re.escape(marker.lower())), text.lower()))


def number_bullet_lists(text: str, of: Arguments, _: Texts) -> bool:
    """Exactly so many lines that begin with one `*` or with `-`."""
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == of["num_bullets"]


def constrained_response(text: str, _: Arguments, __: Texts) -> bool:
    """One of the three sentences occurs."""
    return any(option in text for option in CONSTRAINED)


def number_highlighted_sections(text: str, of: Arguments, _: Texts) -> bool:
    """At least so many `*highlights*`, `**such**` included."""
    single = [part for part in re.findall(r"\*([^\n*]*)\*", text) if part.strip()]
    double = [part for part in re.findall(r"\*\*([^\n*]*)\*\*", text) if part.strip()]
    return len(single) + len(double) >= of["num_highlights"]


def multiple_sections(text: str, of: Arguments, _: Texts) -> bool:
    """At least so many headings of the kind `SECTION 1`."""
    heading = re.escape(of["section_spliter"].strip()) + r"\s?\d+"
    return len(re.findall(heading, text)) >= of["num_sections"]


def json_format(text: str, _: Arguments, __: Texts) -> bool:
    """The whole is JSON, in a Markdown fence or not."""
    body = text.strip()
    for opening in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(opening)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str, _: Arguments, __: Texts) -> bool:
    """A title in double angular brackets that is not blank."""
    titles = re.findall(r"<<[^\n]+>>", text)
    return any(one.lstrip("<").rstrip(">").strip() for one in titles)


def two_responses(text: str, _: Arguments, __: Texts) -> bool:
    """Two different answers with six asterisks between them."""
    pieces = [piece.strip() for piece in text.split("******")]
    answers = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(answers) == 2 and answers[0] != answers[1]


def repeat_prompt(text: str, of: Arguments, _: Texts) -> bool:
    """The request comes first, word for word."""
    return text.strip().lower().startswith(of["prompt_to_repeat"].strip().lower())


def end_checker(text: str, of: Arguments, _: Texts) -> bool:
    """The phrase comes last, closing quotation marks aside."""
    return text.strip().strip('"').lower().endswith(of["end_phrase"].strip().lower())


def quotation(text: str, _: Arguments, __: Texts) -> bool:
    """The whole stands between double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def capital_word_frequency(text: str, of: Arguments, texts: Texts) -> bool:
    """So many words all in capitals."""
    count = texts.capital_words(text)
    return compare(count, of["capital_relation"], of["capital_frequency"])


def english_capital(text: str, _: Arguments, texts: Texts) -> bool:
    """English without small letters."""
    return text.isupper() and texts.language(text) in ("en", None)


def english_lowercase(text: str, _: Arguments, texts: Texts) -> bool:
    """English without capital letters."""
    return text.islower() and texts.language(text) in ("en", None)


def no_comma(text: str, _: Arguments, __: Texts) -> bool:
    """No comma."""
    return "," not in text


RULES: Mapping[str, Rule] = {
    "keywords:existence": keywords,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "punctuation:no_comma": no_comma,
}
