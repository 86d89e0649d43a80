"""The grammar of tool calls, from the tools of a request and the form of its model.

A call is written exactly as the model was trained to, up to its arguments; these follow the tool's
schema.  A tool that is not `strict` is never refused for a keyword that cannot be enforced: clients
pass on the definitions of others.  What is not enforced is told in `warnings`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tongwen.engine.constraint import ToolCalls
from tongwen.engine.lark import json_text, literal
from tongwen.engine.names import with_plain_names
from tongwen.engine.schema import Schema, check_schema, relax_schema
from tongwen.errors import RequestError
from tongwen.tokenizer.messages import dump_json
from tongwen.tokenizer.tools import ARGS, FUNCTION, RESULT

MAX_TOOLS = 256
"""Tools of one request."""


class ToolRules:
    """The rules of a request's tool calls.

    Args:
        asked: The tools, their form, and which may be called.
        control: Control tokens of the vocabulary: a marker that is one is written as such.
        refusal: Why a schema cannot be compiled; `None` where it can.

    Attributes:
        marker: The text that opens a call.
        warnings: What the tools' schemas ask for and cannot be enforced.

    Raises:
        RequestError: There are too many tools; or a schema is malformed, does not describe an
            object or, where `strict`, cannot be enforced.
    """

    def __init__(
        self,
        asked: ToolCalls,
        control: Mapping[str, int],
        refusal: Callable[[Schema], str | None],
    ) -> None:
        tools = asked.callable_tools
        if len(tools) > MAX_TOOLS:
            raise RequestError(f"{len(tools)} tools are given; at most {MAX_TOOLS} are taken")
        self._asked, self._control, self._refusal = asked, control, refusal
        self._is_hermes = asked.form == "hermes"
        self.marker = "<tool_call>" if self._is_hermes else f"{FUNCTION}:"
        self.warnings: list[str] = []
        self._rules = [rule for place, tool in enumerate(tools) for rule in self._tool(place, tool)]
        self._bodies = " | ".join(f"call_{place}" for place in range(len(tools)))

    def opened(self) -> str:
        """The grammar of one call, from behind its marker to its end."""
        return "\n".join([f"start: {self._body()}", *self._rules])

    def whole(self) -> str:
        """The grammar of an answer that is nothing but calls."""
        call = f"{self._marker(self.marker)} {self._body()}"
        between = literal("\n") if self._is_hermes else ""
        more = f" ({between} {call})*" if self._asked.parallel else ""
        # In Qwen2's form the model says that it is done by opening the results.
        end = "" if self._is_hermes else f" ({literal(RESULT)})?"
        return "\n".join([f"start: {call}{more}{end}", *self._rules])

    def _body(self) -> str:
        end = f" {self._marker('</tool_call>')}" if self._is_hermes else ""
        return f"({self._bodies}){end}"

    def _marker(self, text: str) -> str:
        token_id = self._control.get(text)
        return literal(text) if token_id is None else f"<[{token_id}]>"

    def _tool(self, place: int, tool: Mapping[str, Any]) -> Sequence[str]:
        name, args = tool["name"], f"args_{place}"
        schema = self._schema(name, tool)
        if self._is_hermes:
            head, tail = f'\n{{"name": {dump_json(name)}, "arguments": ', "}\n"
        else:
            head, tail = f" {name}\n{ARGS}: ", "\n"
        call = f"call_{place}: {literal(head)} {args} {literal(tail)}"
        if not self._is_hermes and name == "code_interpreter":
            return [call, f"{args}[lazy]: /\\n?```(?s:.*)```/"]
        return [call, f"{args}: %json {json_text(with_plain_names(schema))}"]

    def _schema(self, name: str, tool: Mapping[str, Any]) -> Schema:
        schema = _arguments_schema(name, tool.get("parameters"))
        try:
            if tool.get("strict"):
                return self._strict(schema)
            schema, dropped = relax_schema(schema)
        except RequestError as error:
            raise RequestError(f"tool `{name}`: {error}", hint=error.hint) from None
        self.warnings += [f"tool `{name}`: {each}; it is not enforced" for each in dropped]
        if refusal := self._refusal(schema):
            self.warnings.append(f"tool `{name}`: any object is allowed: {refusal}")
            return {"type": "object"}
        return schema

    def _strict(self, schema: Schema) -> Schema:
        check_schema(schema)
        if refusal := self._refusal(schema):
            raise RequestError(refusal)
        return schema


def _arguments_schema(name: str, parameters: object) -> Schema:
    """The schema of an object; one that lists its properties has no others unless it says so."""
    if parameters is None or parameters == {}:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(parameters, Mapping):
        raise RequestError(f"`parameters` of tool `{name}` is no JSON schema")
    schema = {"type": "object", **parameters}
    if schema["type"] != "object":
        raise RequestError(f"`parameters` of tool `{name}` describe a `{schema['type']}`")
    composed = {"$ref", "anyOf", "oneOf", "allOf", "patternProperties"} & schema.keys()
    if "properties" in schema and not composed:
        schema.setdefault("additionalProperties", False)
    return schema
