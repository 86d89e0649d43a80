"""Grammars in llguidance's variant of Lark: what a caller's may say, and ours for tool calls."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.engine.constraint import ToolCalls
from tongwen.engine.repeats import MAX_REPEATS, check_repeats
from tongwen.engine.schema import Schema, check_schema, relax_schema
from tongwen.errors import RequestError
from tongwen.tokenizer.messages import dump_json
from tongwen.tokenizer.tools import ARGS, FUNCTION, RESULT

MAX_BYTES = 65_536
"""A grammar of a caller."""

MAX_TOOLS = 256
"""Tools of one request."""

# At most one blank, or a new line with its indent, so that no model fills an answer with blanks.
WHITESPACE = r"\x20|\n[\x20\t]{0,32}"
"""What may stand between the parts of JSON."""

_QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"i?|/(?:\\.|[^/\\\n])+/[a-z]*|//[^\n]*|#[^\n]*')
_REFUSED = {
    r"[&]|~(?!\s*\d)": "combines terminals with `&` or `~`, whose automata are not bounded",
    r"<[^<>\n]*>": "names control tokens",
    r"\b(?:max_tokens|temperature|stop|stop_capture|capture)\b": "sets options of a rule",
    r"%llguidance\b": "sets options of the parser",
    r"@\w": "refers to other grammars",
}


def check_lark(grammar: str) -> None:
    """Refuse a caller's grammar that costs too much or says what is not ours to obey.

    Raises:
        RequestError: It is too long, combines terminals, repeats too much, names control tokens,
            sets options, or holds a JSON schema that cannot be enforced.
    """
    num_bytes = len(grammar.encode(errors="surrogatepass"))
    if num_bytes > MAX_BYTES:
        raise RequestError(f"the grammar has {num_bytes} bytes; at most {MAX_BYTES} are taken")
    rest = _check_schemas(grammar)
    for quoted in _QUOTED.finditer(rest):
        if quoted[0].startswith("/") and not quoted[0].startswith("//"):
            check_repeats(quoted[0])
    bare = _QUOTED.sub(" ", rest)
    for pattern, reason in _REFUSED.items():
        if found := re.search(pattern, bare):
            raise RequestError(f"the grammar {reason}: `{found[0]}`")
    counts = [int(count) for count in re.findall(r"\d{1,18}", bare)]
    if counts and max(counts) > MAX_REPEATS:
        raise RequestError(f"the grammar repeats {max(counts)} times; at most {MAX_REPEATS}")


def _check_schemas(grammar: str) -> str:
    """Check the schemas in a grammar, and give the grammar without them."""
    rest, place = "", 0
    for found in re.finditer(r"%(?:json|regex)\s*", grammar):
        if found.start() < place:
            continue
        try:
            schema, end = json.JSONDecoder().raw_decode(grammar, found.end())
        except (ValueError, RecursionError) as error:
            raise RequestError(f"`{found[0].strip()}` of the grammar: {error}") from None
        if found[0].startswith("%json"):
            check_schema(schema)
        rest, place = rest + grammar[place : found.start()], end
    return rest + grammar[place:]


def json_rule(name: str, schema: Schema) -> str:
    """A rule that a JSON schema stands for."""
    body = {"allOf": [schema]} if isinstance(schema, bool) else dict(schema)
    return f"{name}: %json {json.dumps(body | {'x-guidance': {'whitespace_pattern': WHITESPACE}})}"


def literal(text: str) -> str:
    """A terminal that is exactly `text`."""
    return json.dumps(text, ensure_ascii=False)


class ToolRules:
    """The rules of a request's tool calls.

    Args:
        asked: The tools, their form, and which may be called.
        control: Control tokens of the vocabulary: a marker that is one is written as such.

    Attributes:
        marker: The text that opens a call.
        warnings: What the tools' schemas ask for and cannot be enforced.

    Raises:
        RequestError: There are too many tools; or a schema is malformed, does not describe an
            object or, where `strict`, cannot be enforced.
    """

    def __init__(self, asked: ToolCalls, control: Mapping[str, int]) -> None:
        tools = asked.callable_tools
        if len(tools) > MAX_TOOLS:
            raise RequestError(f"{len(tools)} tools are given; at most {MAX_TOOLS} are taken")
        self._asked, self._control = asked, control
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
        return [call, json_rule(args, schema)]

    def _schema(self, name: str, tool: Mapping[str, Any]) -> Schema:
        schema = _arguments_schema(name, tool.get("parameters"))
        try:
            if tool.get("strict"):
                check_schema(schema)
                return schema
            relaxed, dropped = relax_schema(schema)
        except RequestError as error:
            raise RequestError(f"tool `{name}`: {error}", hint=error.hint) from None
        self.warnings += [f"tool `{name}`: {each}; it is not enforced" for each in dropped]
        return relaxed


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
