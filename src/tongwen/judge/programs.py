"""Programs in any of the languages, made for the sandbox."""

import shlex

from tongwen.errors import DependencyError
from tongwen.judge import host
from tongwen.judge.languages import Language
from tongwen.judge.program import Program

NOT_COMPILED = 97
"""Exit code of a program whose compiler refused it."""


def build(language: Language, source: str) -> Program:
    """A program that compiles its source, if need be, and runs it, in one sandbox.

    Args:
        language: What it is written in.
        source: Its text.

    Raises:
        DependencyError: A program that this language takes is not here.
    """
    tools = {name: _tool(name, how) for name, how in language.needs.items()}
    words = {name: shlex.quote(tool.path) for name, tool in tools.items()}
    steps = [f"exec {language.run.format_map(words)}"]
    if language.compile is not None:
        # What a compiler says of a program is a complaint, wherever it prints it.
        steps.insert(0, f"{language.compile.format_map(words)} >&2 || exit {NOT_COMPILED}")
    return Program(
        argv=["sh", "-c", "\n".join(steps)],
        files=language.own_files | {language.file: source},
        env=language.env,
        folders={seen: there for tool in tools.values() for seen, there in tool.folders.items()},
        limits=language.limits,
    )


def with_end(language: Language, source: str, text: str) -> str:
    """The source with a statement behind its tests that prints `text`.

    Args:
        language: What it is written in.
        source: A program whose last statements are its tests.
        text: What is printed once they are done.
    """
    head, tail = source.rstrip(), ""
    for _ in range(language.closes):
        head, _, rest = head.rpartition("}")
        tail = "}" + rest + tail
    return f"{head}\n{language.say.replace('{text}', text)}\n{tail}\n"


def _tool(name: str, how: str) -> host.Tool:
    found = host.tool(name)
    if found is None:
        raise DependencyError(f"no `{name}` here", hint=how)
    return found
