"""Grammars in llguidance's variant of Lark: what a caller's may say, and what ours are made of."""

import json
import re

from tongwen.engine.repeats import MAX_REPEATS, check_repeats
from tongwen.engine.schema import Schema, check_schema
from tongwen.errors import RequestError

MAX_BYTES = 65_536
"""A grammar of a caller."""

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


def json_text(schema: Schema) -> str:
    """A JSON schema as llguidance reads it, with `WHITESPACE` in it."""
    body = {"allOf": [schema]} if isinstance(schema, bool) else dict(schema)
    return json.dumps(body | {"x-guidance": {"whitespace_pattern": WHITESPACE}})


def literal(text: str) -> str:
    """A terminal that is exactly `text`."""
    return json.dumps(text, ensure_ascii=False)
