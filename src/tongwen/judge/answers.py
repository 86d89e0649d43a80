"""Short answers: the number or the phrase that a completion ends on, and whether it is right."""

import re
import unicodedata
from decimal import Decimal, InvalidOperation

# Groups of three, of two as in India, or none; "1,2,3" is three numbers.
_NUMBER = r"[-+]?(?:(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_CURRENCY = re.compile(r"(?:US|HK|NT)?[$€£¥￥₹฿₽]|\\\$|\b(?:USD|EUR|GBP|RMB|CNY|JPY|INR)\b")
# A number that is this long is no answer; it is refused before anything counts with it.
MAX_DIGITS = 400


def number(text: str) -> Decimal | None:
    """The number that `text` is, without currency, percent sign, unit or commas; else None.

    Digits of every script are read.  A unit is what follows the number without another digit.
    """
    plain = _CURRENCY.sub("", plain_digits(text)).strip().rstrip(".。")
    match = re.fullmatch(rf"({_NUMBER})\s*(?:\\?%|[^\d\s][^\d]*)?", plain)
    return _decimal(match[1]) if match else None


def last_number(text: str, *, decimal_comma: bool = False) -> Decimal | None:
    """The last number in `text`, or None.

    Digits of every script are read; currency signs are skipped; a hyphen behind a digit is no
    sign.  Commas group digits.

    Args:
        text: A completion.
        decimal_comma: As German, French, Spanish or Russian write: full stops and spaces group
            three digits, one or two behind a comma are decimals.
    """
    plain = _CURRENCY.sub("", plain_digits(text))
    if decimal_comma:
        plain = re.sub(r"(?<=\d)[. ](?=\d{3}(?!\d))", "", plain)
        plain = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d))", ".", plain)
    found = re.findall(rf"(?<![\d.])({_NUMBER})", plain)
    return _decimal(found[-1]) if found else None


def same_number(left: Decimal | None, right: Decimal | None) -> bool:
    """Whether both are numbers, and the same (GSM8K, MGSM: exactly, so 18.0 is 18)."""
    return left is not None and left == right


def gsm8k_gold(answer: str) -> Decimal | None:
    """The number behind the `####` of a GSM8K row's answer, or None."""
    return number(answer.rpartition("####")[2].strip())


def harness_strict(text: str) -> str:
    """What lm-evaluation-harness' filter `strict-match` of `gsm8k` takes from `text`."""
    return _chosen(re.findall(r"#### (-?[0-9.,]+)", text), 0)


def harness_flexible(text: str) -> str:
    """What its filter `flexible-extract` takes: the last thing that looks like a number."""
    return _chosen(re.findall(r"-?[$0-9.,]{2,}|-?[0-9]+", text), -1)


def harness_equal(taken: str, answer: str) -> bool:
    """Its `exact_match` for `gsm8k`: without commas, dollars and what stands before `#### `."""
    return _harness_form(taken) == _harness_form(answer)


def opencompass_gsm8k(text: str) -> str:
    """The digits of the last word with a digit, before the first blank line; else "NULL"."""
    words = [word for word in text.partition("\n\n")[0].split(" ") if re.search(r"\d", word)]
    return "".join(re.findall(r"\d", words[-1])) if words else "NULL"


def after_answer_is(text: str) -> str:
    """What BBH compares: what follows the first `answer is`, to the end of its line, no full stop.

    The few-shot prompts end each example in `So the answer is X.`; without that the first line
    counts whole.
    """
    before, mark, after = text.partition("answer is ")
    line = (after if mark else before).strip().partition("\n")[0].strip()
    return line.removesuffix(".").strip()


def bbh_equal(taken: str, target: str) -> bool:
    """Exact match, but that `A` passes for `(A)`."""
    if re.fullmatch(r"\([A-Z]\)", target):
        return taken.strip("() ") == target.strip("()")
    return taken == target


def plain_digits(text: str) -> str:
    """`text` with every script's digits as 0 to 9, its minus and separators as `-`, `.` and `,`."""
    if text.isascii():
        return text
    table = str.maketrans("٫٬，−．\u00a0\u202f", ".,,-.  ")
    return "".join(
        str(unicodedata.digit(c)) if unicodedata.category(c) == "Nd" else c
        for c in text.translate(table)
    )


def _decimal(text: str) -> Decimal | None:
    if len(text) > MAX_DIGITS:
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None


def _chosen(found: list[str], index: int) -> str:
    return found[index].strip() if found else "[invalid]"


def _harness_form(text: str) -> str:
    for pattern in (",", r"\$", r"(?s).*#### ", r"\.$"):
        text = re.sub(pattern, "", text)
    return text.lower()
