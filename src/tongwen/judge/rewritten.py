"""Functions that an answer writes anew, in the languages of MultiPL-E.

What was asked to be gone on with often comes whole: bare, within a class of its own, with imports
and a `main`.  It is laid where the prompt has its head, so that the tests find it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = re.compile(r"(\w+)\s*\(")
_NO_TYPE = r"(?!\s*(?:(?:return|else|throw|case|yield|new|delete|await)\b|[?:&|*<>+\-!~%^,.]))"
_TYPED = rf"^{_NO_TYPE}[^\n=;(\"/]*[\w>\]&*?]\s+[&*]*{{name}}\s*\("
_SCRIPT = (
    r"^\s*(?:export\s+)?(?:default\s+)?(?:async\s+)?function\s*\*?\s*{name}\s*[(<]"
    r"|^\s*(?:export\s+)?(?:const|let|var)\s+{name}\s*[=:]"
)
_DEFINED = {
    "py": r"^(?:async\s+)?def\s+{name}\s*\(",
    "js": _SCRIPT,
    "ts": _SCRIPT,
    "php": r"^\s*(?:<\?php\s+)?function\s+&?{name}\s*\(",
    "sh": r"^\s*(?:function\s+)?{name}\s*\(\s*\)|^\s*function\s+{name}\b",
}
"""By language, what defines a function; in all others a type stands before its name."""

_IMPORT = re.compile(r"^\s*(?:import|using)\s[^;(]*;[^\S\n]*$\n?", re.MULTILINE)
_CLASS = re.compile(r"\b(?:class|record|struct)\s+\w+[^;{}]*\Z")
_BESIDE = re.compile(r"^(?:public\s+)?(?=(?:abstract\s+|final\s+)*class\b)", re.MULTILINE)
_BRACE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'|(?P<brace>[{}])""", re.DOTALL
)
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
    imports = "" if language == "cpp" else "".join(_IMPORT.findall(text[:place]))
    body = _bare(text, place, language)
    return f"{imports}{_preamble(prompt, text)}\n{body}\n{tests}"


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
    if language in ("java", "cs"):
        text = _unwrapped(text, place, "static " if language == "java" else "")
    return _MAIN.sub(r"own_\1", text) if language in ("cpp", "java", "cs") else text


def _unwrapped(text: str, place: int, nested: str) -> str:
    """The members of the class around the function, with the classes beside it; no imports."""
    around = _around(text, place)
    if around is None:
        return _IMPORT.sub("", text[:place]) + text[place:]
    depth, start, end = around
    inside = text[start + 1 : end]
    if depth:  # within a namespace, whose brackets must go too
        return inside
    head = 1 + max(text.rfind(mark, 0, start) for mark in ";{}")
    beside = _IMPORT.sub("", text[:head]) + "\n" + text[end + 1 :]
    return _BESIDE.sub(nested, beside) + inside


def _around(text: str, place: int) -> tuple[int, int, int] | None:
    """The innermost class around a place: how deep, from which bracket to which; or None."""
    opened: list[int] = []
    found: tuple[int, int] | None = None
    for match in _BRACE.finditer(text):
        if match["brace"] is None:
            continue
        if found is None and match.start() > place:
            classes = [one for one in enumerate(opened) if _CLASS.search(text[: one[1]])]
            if not classes:
                return None
            found = classes[-1]
        if match["brace"] == "{":
            opened.append(match.start())
        elif opened:
            opened.pop()
        if found is not None and len(opened) <= found[0]:
            return *found, match.start()
    return None if found is None else (*found, len(text))
