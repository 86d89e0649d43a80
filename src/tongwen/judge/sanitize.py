"""Takes the program out of what a model wrote, as EvalPlus does (`evalplus/sanitize.py`).

The longest run of lines that is Python, and of it the imports and whatever the asked function
needs.
"""

import ast
import warnings
from collections.abc import Iterator

_MOST_CHARS = 64 << 10
_MOST_TRIED_CHARS = 1 << 20

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sanitize(text: str, entry_point: str | None = None) -> str:
    """The part of a completion that is worth running.

    Args:
        text: What a model wrote; what stands behind 64 K characters is not looked at.
        entry_point: The function that is asked for; what it does not need is left out.

    Returns:
        Python, without comments between its definitions; empty where no line of it is Python.
    """
    source = longest_python(text[:_MOST_CHARS])
    statements = parsed(source).body
    named = {name: statement for statement in statements for name in _names_made(statement)}
    if entry_point is not None and entry_point in named:
        wanted = _reachable(entry_point, named)
    else:
        wanted = set(named)
    kept = [
        statement
        for statement in statements
        if isinstance(statement, ast.Import | ast.ImportFrom)
        or wanted.intersection(_names_made(statement))
    ]
    return "\n".join(_text(source, statement) for statement in kept)


def longest_python(text: str) -> str:
    """The first of the longest runs of whole lines that parse; blank lines do not count.

    Runs are tried as long as they come to a million characters: texts of which no part is Python
    would be tried for minutes.
    """
    lines, left = text.splitlines(), _MOST_TRIED_CHARS
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    best, found = 0, ""
    for start in range(len(lines)):
        for end in range(len(lines), start, -1):
            if filled[end] - filled[start] <= best:
                break
            run = "\n".join(lines[start:end])
            if (left := left - len(run)) < 0:
                return found
            if _is_python(run):
                best, found = filled[end] - filled[start], run
                break
    return found


def parsed(text: str) -> ast.Module:
    """Python as a tree; what its compiler would warn of is the author's affair.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: It is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _is_python(text: str) -> bool:
    try:
        parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _names_made(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of a module gives a meaning; a function that returns nothing, none."""
    if isinstance(statement, ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        if any(
            isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) for node in ast.walk(statement)
        ):
            yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _reachable(entry_point: str, named: dict[str, ast.stmt]) -> set[str]:
    """Names that a definition uses, and those that these use."""
    seen, waiting = set[str](), [entry_point]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in named:
            continue
        seen.add(name)
        used = (node.id for node in ast.walk(named[name]) if isinstance(node, ast.Name))
        waiting += [each for each in used if each not in seen]
    return seen


def _text(source: str, statement: ast.stmt) -> str:
    """A statement as it was written, decorators included."""
    first = statement.lineno
    if isinstance(statement, _Definition):
        first = min([first, *(each.lineno for each in statement.decorator_list)])
    return "\n".join(source.splitlines()[first - 1 : statement.end_lineno])
