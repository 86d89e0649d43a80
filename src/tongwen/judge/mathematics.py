r"""Find the final answer of a mathematical solution and bring it to one form.

The order of extraction is Qwen2.5-Math's (`evaluation/parser.py`): Minerva's phrase, the last
`\boxed{}`, "he answer is", "final answer is", 答案是, the last number.
"""

import re

_MINERVA = re.compile(r"final answer is \$(.*?)\$\. I hope", re.DOTALL)
_LAST_NUMBER = re.compile(r"-?\d*\.?\d+")
# Behind a number these are units; a letter that may be a variable is none.
_UNITS = (
    r"(?:square |cubic |sq\.? ?|cu\.? ?)?(?:degrees?|dollars?|cents?|units?|inch(?:es)?|feet|foot|"
    r"yards?|miles?|meters?|metres?|centimeters?|centimetres?|kilometers?|kilometres?|cm|mm|km|"
    r"kg|grams?|hours?|minutes?|seconds?|days?|weeks?|months?|years?|percent|mph|gallons?|liters?|"
    r"litres?|points?|people|students?|ways?)(?: per \w+)?(?:\^\{?[23]\}?)?"
)
_ONES = "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
_RENAMED = {
    r"\tfrac": r"\frac",
    r"\dfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\neq": r"\ne",
    r"\leq": r"\le",
    r"\geq": r"\ge",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "π": r"\pi",
    "∞": r"\infty",
    "−": "-",
    "×": r"\times",
    "·": r"\cdot",
    r"\rightarrow": r"\to",
}
_DROPPED = re.compile(
    r"\\left(?![a-z])|\\right(?![a-z])|\\[!,;:]|\\q?quad|\\(?:big|Big|bigg|Bigg)[lr]?(?![a-z])|"
    r"\\(?:display|text)style|\\[()\[\]]|\\?\$|~|\^\{?\\circ\}?|°|\\?%"
)


def extract(solution: str) -> str:
    """The final answer of `solution`, as it stands there; empty where none is found."""
    for find in (_minerva, last_boxed, _after_phrase):
        found = find(solution)
        if found is not None:
            return _tidy(found)
    numbers = _LAST_NUMBER.findall(solution.replace(",", ""))
    return numbers[-1] if numbers else ""


def last_boxed(solution: str) -> str | None:
    r"""What the last `\boxed{}` or `\fbox{}` holds, its braces matched, or None without one.

    `\boxed 5` is read to the next `$`; a box that is never closed, to the end.
    """
    start = max(solution.rfind(r"\boxed"), solution.rfind(r"\fbox"))
    if start < 0:
        return None
    inside = solution[start:].removeprefix(r"\boxed").removeprefix(r"\fbox").lstrip()
    if not inside.startswith("{"):
        return inside.partition("$")[0].strip()
    return inside[1 : _closing(inside)]


def normalise(answer: str) -> str:
    r"""One form for what is written in many: no dress, no units, `\frac{a}{b}`, no spaces.

    Percent signs fall, as the comparison allows for a factor of 100.  Meaning is kept otherwise:
    unlike Qwen2.5-Math's `strip_string` no single letters are taken for units.
    """
    text = answer.strip().replace("\n", " ").rstrip(".。 ")
    for old, new in _RENAMED.items():
        text = text.replace(old, new)
    text = re.sub(r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}", text)
    text = text.replace(r"\end{array}", r"\end{pmatrix}").replace("bmatrix", "pmatrix")
    text = re.sub(r"\\\\\s*", "\n", text)  # a new row; `\\ ` alone is a space
    text = _DROPPED.sub("", text.replace("\\ ", " ")).replace(r"\{", "{").replace(r"\}", "}")
    text = _without_words(text).strip().rstrip(".")
    text = _plain_number(text)
    text = text.replace("\n", "\\\\")
    return _close_up(_fractions(_roots(_leading_zeros(text))))


def _close_up(text: str) -> str:
    r"""Spaces fall, but where they part `\pi` from a letter and one numeral from the next."""
    text = re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", "\\1\0", text)
    text = re.sub(r"(?<=\d)\s+(?=\d)", "\0", text)
    return re.sub(r"\s+", "", text).replace("\0", " ")


def _minerva(solution: str) -> str | None:
    match = _MINERVA.search(solution)
    return match[1] if match else None


def _after_phrase(solution: str) -> str | None:
    for phrase in ("he answer is", "final answer is", "答案是"):
        if phrase in solution:
            return solution.rpartition(phrase)[2].strip().partition("\n\n")[0]
    return None


def _tidy(found: str) -> str:
    return re.sub(r"\n\s*", "", found).strip().removeprefix(":").strip().rstrip("./。").strip()


def _closing(text: str) -> int:
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return place
    return len(text)


def _without_words(text: str) -> str:
    r"""Units fall; `\text{}` and its kin give what they hold, where that is the answer."""
    text = re.sub(r"\\mbox\{[^{}]*\}(?:\^\{?\d\}?)?\s*$", "", text)
    bare = re.sub(r"\\(?:text|mathrm|textrm|rm)\s*\{[^{}]*\}(?:\^\{?\d\}?)?\s*$", "", text).strip()
    if bare and not bare.endswith(("=", ",", "+", "-", "(")):
        text = bare
    text = re.sub(r"\\(?:text|mathrm|textrm|textbf|mathbf|textit|mbox)\s*\{([^{}]*)\}", r"\1", text)
    stripped = re.sub(rf"(?<=[\d}}])\s*{_UNITS}$", "", text.strip(), flags=re.IGNORECASE)
    word = stripped.strip().lower()
    return str(_ONES.index(word)) if word in _ONES else stripped


def _plain_number(text: str) -> str:
    """Commas that group digits and zeros that say nothing fall."""
    if re.fullmatch(r"\s*-?\d{1,3}(,\d{3})+(\.\d+)?\s*", text):
        text = text.replace(",", "")
    return re.sub(r"(\d)\.0+(?!\d)", r"\1", text)


def _leading_zeros(text: str) -> str:
    return re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)


def _roots(text: str) -> str:
    text = re.sub(r"\\sqrt\s*(?=[^\s{\[])(\w)", r"\\sqrt{\1}", text)
    return re.sub(r"√\s*(?:\((\w+)\)|(\d+|\w))", r"\\sqrt{\1\2}", text)


def _fractions(text: str) -> str:
    r"""`\frac12`, `\frac1{2}` and `1/2` become `\frac{1}{2}`; a number before it stays apart."""
    text = re.sub(r"(?<=\d)\s*(?=\\frac)", "+", text) if _is_mixed(text) else text
    text = re.sub(r"\\frac\s*([^\s{\\])\s*", r"\\frac{\1}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*([^\s{\\])", r"\\frac\1{\2}", text)
    simple = re.fullmatch(r"\s*(-?)(\d+)\s*/\s*(\d+)\s*", text)
    return f"{simple[1]}\\frac{{{simple[2]}}}{{{simple[3]}}}" if simple else text


def _is_mixed(text: str) -> bool:
    r"""Whether this is a mixed number such as `3\frac{1}{2}`, which is a sum and no product."""
    return re.fullmatch(r"\s*\d+\s*\\frac\s*(?:\d\d|\{\d+\}\{\d+\})\s*", text) is not None
