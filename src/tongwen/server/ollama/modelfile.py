"""Ollama's Modelfile: how a model is made from another, as text.

Source of the grammar: `docs/modelfile.mdx` of ollama/ollama.  A value goes to the end of its line,
or over lines between three quotation marks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tongwen.errors import ConfigError
from tongwen.server.errors import unsupported

_COMMANDS = ("from", "parameter", "template", "system", "adapter", "license", "message", "requires")
_QUOTES = '"""'
_ROLES = ("system", "user", "assistant")


@dataclass(kw_only=True, slots=True)
class Recipe:
    """How a model is made."""

    base: str | None = None
    """A name, a path, or `@sha256:...`, a file that was uploaded."""

    files: dict[str, str] = field(default_factory=dict)
    """Files that were uploaded: digests by name."""

    system: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[Mapping[str, Any]] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)


def parse_modelfile(text: str) -> Recipe:
    """Read a Modelfile.

    Raises:
        ConfigError: A line is none of it.
        ApiError: It asks for what we do not serve.
    """
    recipe = Recipe()
    for command, value in _commands(text):
        match command:
            case "from":
                recipe.base = value
            case "parameter":
                _set(recipe.parameters, value)
            case "system":
                recipe.system = value
            case "license":
                recipe.licences.append(value)
            case "message":
                recipe.messages.append(_message(value))
            case "template":
                raise unsupported("TEMPLATE", "templates are the model's own")
            case "adapter":
                raise unsupported("ADAPTER", "merge it first (`tongwen merge`)")
            case "requires":
                raise unsupported("REQUIRES", "this is not Ollama, whose versions it counts")
    return recipe


def write_modelfile(recipe: Recipe) -> str:
    """The text that `parse_modelfile` reads as the same."""
    lines = [f"FROM {recipe.base}"]
    for name, value in recipe.parameters.items():
        lines += [f"PARAMETER {name} {each}" for each in _written(value)]
    if recipe.system is not None:
        lines.append(f"SYSTEM {_quoted(recipe.system)}")
    lines += [f"MESSAGE {m['role']} {_quoted(str(m['content']))}" for m in recipe.messages]
    return "\n".join(lines) + "\n"


def parameter_lines(parameters: Mapping[str, Any]) -> str:
    """Parameters as `show` prints them."""
    lines = [f"{name:<30} {each}" for name in parameters for each in _written(parameters[name])]
    return "\n".join(lines)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    lines = iter(enumerate(text.replace("\r\n", "\n").split("\n"), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        command, _, value = line.strip().partition(" ")
        if command.lower() not in _COMMANDS:
            raise ConfigError(f"line {number} of the Modelfile begins with `{command[:32]}`")
        if command.lower() == "message":
            role, _, value = value.strip().partition(" ")
            yield "message", f"{role} {_value(value, lines, number)}"
        else:
            yield command.lower(), _value(value, lines, number)


def _value(value: str, lines: Iterator[tuple[int, str]], number: int) -> str:
    """A value to the end of its line, or to the closing quotation marks."""
    value = value.strip()
    if not value.startswith(_QUOTES):
        if not value:
            raise ConfigError(f"line {number} of the Modelfile has no value")
        return value
    parts = [value.removeprefix(_QUOTES)]
    while _QUOTES not in parts[-1]:
        _, line = next(lines, (0, None))
        if line is None:
            raise ConfigError(f"the text that line {number} of the Modelfile opens has no end")
        parts.append(line)
    last, _, rest = parts[-1].partition(_QUOTES)
    if rest.strip():
        raise ConfigError(f"after the text that line {number} of the Modelfile opens stands more")
    return "\n".join([*parts[:-1], last])


def _set(parameters: dict[str, Any], value: str) -> None:
    name, _, text = value.partition(" ")
    if not text.strip():
        raise ConfigError(f"`PARAMETER {name}` has no value")
    if name == "stop":
        parameters.setdefault("stop", []).append(_unquoted(text.strip()))
    else:
        parameters[name] = _typed(text.strip())


def _typed(text: str) -> Any:  # noqa: ANN401 - of three kinds
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), _unquoted(text))


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1] if is_quoted else text


def _message(value: str) -> Mapping[str, Any]:
    role, _, content = value.partition(" ")
    if role not in _ROLES or not content:
        raise ConfigError(f"`MESSAGE {role}` needs a role ({', '.join(_ROLES)}) and a text")
    return {"role": role, "content": content}


def _written(value: object) -> list[str]:
    """A value, or each of several; texts in quotation marks."""
    if isinstance(value, list):
        return [text for each in value for text in _written(each)]
    return [f'"{value}"' if isinstance(value, str) else str(value)]


def _quoted(text: str) -> str:
    return f"{_QUOTES}{text}{_QUOTES}"
