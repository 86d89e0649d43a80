"""Which of the lettered choices a completion picked."""

import re
from collections.abc import Sequence

TEN = "ABCDEFGHIJ"

# Strongest first; of the first that occurs, its last place counts, for a model that reasons aloud
# corrects itself.
_CHINESE = (
    r"(?:正确|最终)?(?:答案|选项)(?:应该|应当|应)?(?:是|为|选|：|:)+\s*[（(“\"\s]*{letter}(?![A-Za-z])",
    r"选(?!项)择?(?:答案)?(?:是|为|：|:)*\s*[（(“\"\s]*{letter}(?![A-Za-z])",
    r"(?<![A-Za-z]){letter}[）)”\"]?\s*(?:选项)?(?:是|为)?(?:正确|对)的?",
)
_MARKUP = re.compile(r"[*`$]|\\boxed|\\text|\\mathrm|[{}]")


def mmlu_pro(text: str) -> str | None:
    """The letter that MMLU-Pro's three rules find in `text`, or None.

    In order: the first `answer is (X)`, the last `Answer: X` of the first line that has one, the
    last letter A to J that stands alone (TIGER-AI-Lab/MMLU-Pro, `evaluate_from_local.py`).
    """
    rules = (
        r"answer is \(?([A-J])\)?",
        r".*[aA]nswer:\s*([A-J])",
        r"(?s)\b([A-J])\b(?!.*\b[A-J]\b)",
    )
    matches = (re.search(rule, text) for rule in rules)
    return next((match[1] for match in matches if match), None)


def first_capital(text: str) -> str | None:
    """The first capital letter of `text`, as OpenCompass takes it, or None."""
    return next((letter for letter in text if letter.isupper()), None)


def chinese(text: str, letters: str = "ABCD") -> str | None:
    """The letter that a Chinese answer settles on, or None.

    Understands 答案是 X, 答案：X, 故选 X, 选择 X, X 正确 and a letter alone, with brackets,
    Markdown or LaTeX around it; full-width letters count as their plain twins.
    """
    plain = _MARKUP.sub("", text.translate(_narrow(letters)))
    for pattern in _CHINESE:
        found = re.findall(pattern.format(letter=f"([{letters}])"), plain)
        if found:
            return found[-1]
    return alone(plain, letters)


def alone(text: str, letters: str = "ABCD") -> str | None:
    """The first of `letters` that stands alone between other characters, or None."""
    match = re.search(rf"(?<![A-Za-z])([{letters}])(?![A-Za-z'’])", text)
    return match[1] if match else None


def picked(text: str, letters: str = "ABCDE") -> str | None:
    """The last of `letters` that stands alone in `text`, large or small, or None.

    Qwen2.5-Math's rule for AQuA, SAT and MMLU-STEM (`evaluation/grader.py`).
    """
    found = re.findall(rf"\b([{letters}])\b", text.upper())
    return found[-1] if found else None


def by_text(text: str, choices: Sequence[str]) -> int | None:
    """The index of the only choice whose words `text` holds, or None.

    Longer choices hide the shorter ones that they contain.
    """
    left, found = text.casefold(), []
    for index in sorted(range(len(choices)), key=lambda i: -len(choices[i])):
        choice = choices[index].strip().casefold()
        if choice and re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", left):
            found.append(index)
            left = left.replace(choice, " ")
    return found[0] if len(found) == 1 else None


def _narrow(letters: str) -> dict[int, str]:
    return {ord(letter) + 0xFEE0: letter for letter in letters}
