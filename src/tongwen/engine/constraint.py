"""What a caller may ask of a completion's form: JSON, a regular expression, tools and the like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tongwen.errors import RequestError
from tongwen.tokenizer.tools import ToolForm

ToolChoice = Literal["auto", "required", "none"]


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that satisfies a schema (draft 2020-12; `schema.py` lists what is understood)."""

    schema: Mapping[str, Any] | bool
    """The schema; properties are written in the order in which it names them."""


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that a regular expression matches from its first to its last character."""

    pattern: str
    """In the syntax of Rust's `regex`: no look-around, no back-references."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some texts, exactly."""

    options: Sequence[str]
    """The texts; one that occurs twice counts once."""

    def __post_init__(self) -> None:
        if isinstance(self.options, str) or not self.options:
            raise RequestError(f"`choice` must be a list of texts, not `{self.options!r}`")
        if "" in self.options:
            raise RequestError("`choice` holds an empty text")


@dataclass(frozen=True, slots=True)
class Lark:
    """Text of a context-free grammar, with terminals in upper case and a rule `start`."""

    grammar: str
    """In llguidance's variant of Lark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCalls:
    """An answer that may, must or must not call tools, each with arguments by its own schema."""

    tools: Sequence[Mapping[str, Any]]
    """Definitions in the form of OpenAI's `tools`."""

    form: ToolForm
    """How the model writes calls."""

    choice: ToolChoice = "auto"
    """`auto`: free text in which calls may open; `required`: calls only; `none`: no call."""

    name: str | None = None
    """The one tool that may be called, with `required`."""

    parallel: bool = True
    """Whether an answer may hold more than one call."""

    def __post_init__(self) -> None:
        names = self.names
        if repeated := {name for name in names if names.count(name) > 1}:
            raise RequestError(
                f"tool `{min(repeated)}` is defined {names.count(min(repeated))} times"
            )
        if self.choice == "required" and not names:
            raise RequestError("`tool_choice` is `required`, but there is no tool")
        if self.name is not None and self.choice != "required":
            raise RequestError(f"`tool_choice` names `{self.name}` and is `{self.choice}` too")
        if self.name is not None and self.name not in names:
            known = ", ".join(f"`{name}`" for name in names)
            raise RequestError(f"`tool_choice` names `{self.name}`; the tools are {known}")

    @property
    def names(self) -> list[str]:
        """Names of the tools, in order."""
        return [tool["function"]["name"] for tool in self.tools]

    @property
    def callable_tools(self) -> list[Mapping[str, Any]]:
        """The functions that may be called."""
        functions = [tool["function"] for tool in self.tools]
        return [each for each in functions if self.name in (None, each["name"])]


Constraint = JsonObject | JsonSchema | Regex | Choice | Lark | ToolCalls
"""What a request may ask of its completion's form."""
