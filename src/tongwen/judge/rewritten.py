"""Functions that an answer writes anew, in the languages of MultiPL-E.

What was asked to be gone on with often comes whole: bare, within a class of its own, with imports
and a `main`.  It is laid where the prompt has its head, so that the tests find it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = re.compile(r"(\w+)\s*\(")
_TYPED = r"^[^\n=;(\"/]*[\w>\]&*?](?<!\breturn)(?<!\belse)\s+[&*]*{name}\s*\("
_SCRIPT = r"\bfunction\s+{name}\b|\b(?:const|let|var)\s+{name}\s*[=:]"
_DEFINED = {
    "py": r"^(?:async\s+)?def\s+{name}\s*\(",
    "js": _SCRIPT,
    "ts": _SCRIPT,
    "php": r"\bfunction\s+&?{name}\s*\(",
    "sh": r"^\s*(?:function\s+)?{name}\s*\(\s*\)|^\s*function\s+{name}\b",
}
"""By language, what defines a function; in all others a type stands before its name."""

_CLASS = re.compile(r"\A.*?^[^\n/*]*\bclass\s+\w+[^{]*\{", re.DOTALL | re.MULTILINE)
_MAIN = re.compile(r"\b([Mm]ain)(?=\s*\()")
_UNION = re.compile(r"^union\s+\w+", re.MULTILINE)


def rewritten(row: Mapping[str, Any], text: str, language: str) -> str | None:
    """The program of an answer that defines the whole function, tests and all.

    Args:
        row: A line of the benchmark: `prompt`, `tests` (Python's: `test`).
        text: Code.
        language: One of `LANGUAGES`.

    Returns:
        Its text; `None` where the function is not defined there, but gone on with.
    """
    prompt = row["prompt"].rstrip()
    tests: str = row["tests"] if "tests" in row else row["test"]
    if (place := _place(text, _names(prompt, language), language)) is None:
        return None
    if language == "py":  # the prompt, whose function has a docstring for a body, is whole
        return f"{prompt}\n\n{text}\n{tests}"
    if language in ("cpp", "java", "cs", "sh"):  # these tests begin with the function's end
        tests = tests.lstrip().removeprefix("}")
    return f"{_preamble(prompt, text)}\n{_bare(text, place, language)}\n{tests}"


def _names(prompt: str, language: str) -> list[str]:
    """The functions of the prompt, the asked one last; elsewhere than in Python it is alone."""
    if language == "py":
        return re.findall(r"^def\s+(\w+)", prompt, re.MULTILINE)
    return _HEAD.findall(prompt.rpartition("\n")[2])[:1]


def _place(text: str, names: Sequence[str], language: str) -> int | None:
    """Where an answer has the name of the function that it defines."""
    if not names:
        return None
    pattern = _DEFINED.get(language, _TYPED).replace("{name}", re.escape(names[-1]))
    found = re.search(pattern, text, re.MULTILINE)
    return None if found is None else found.end()


def _preamble(prompt: str, text: str) -> str:
    """What stands before the function's head; of types that the answer has too, none."""
    before = prompt.rpartition("\n")[0]
    if any(kind in text for kind in _UNION.findall(before)):
        return "\n".join(line for line in before.split("\n") if line.startswith("#include"))
    return before


def _bare(text: str, place: int, language: str) -> str:
    """The answer without the class, the tags and the name `main` that prompt and tests have."""
    if language == "php":
        return text.replace("<?php", "").replace("?>", "")
    opened = _CLASS.match(text, 0, place) if language in ("java", "cs") else None
    if opened is not None:
        text = text[opened.end() :].rpartition("}")[0]
    return _MAIN.sub(r"own_\1", text) if language in ("cpp", "java", "cs") else text
