r"""Names of properties, each written in one way only.

In JSON `"\u0061ge"` is the name `age`.  llguidance compares names letter by letter and takes it for
another one, whose value is free: a model can so step around a property's schema, and does.  Names
that a pattern describes are written without needless escapes, so where a schema leaves other
properties open, a pattern lets in all of them.
"""

from collections.abc import Collection
from typing import Any

from tongwen.engine.schema import LISTS, MAPS, SINGLES, Schema

ANY_NAME = "(?s:.*)"
"""Of a pattern's names each is written in one way; this is the pattern of all."""

LONGEST_LISTED = 1_000
"""Letters of listed names; above that an expression of all others would be too large."""


def with_plain_names(schema: Schema) -> Schema:
    """The same schema, but that other properties' names are written without escapes."""
    if isinstance(schema, bool):
        return schema
    plain: dict[str, Any] = dict(schema)
    for key in MAPS:
        if key in plain:
            plain[key] = {name: with_plain_names(each) for name, each in plain[key].items()}
    for key in LISTS:
        if key in plain:
            plain[key] = [with_plain_names(each) for each in plain[key]]
    for key in SINGLES:
        if key in plain:
            plain[key] = with_plain_names(plain[key])
    others = plain.get("additionalProperties", True)
    listed = plain.get("properties", {})
    is_short = others is True or sum(map(len, listed)) <= LONGEST_LISTED
    if listed and "patternProperties" not in plain and others is not False and is_short:
        name = ANY_NAME if others is True else f"^{any_name_but(listed)}$"
        plain |= {"patternProperties": {name: others}, "additionalProperties": False}
    return plain


def any_name_but(names: Collection[str]) -> str:
    """A regular expression of every text but these: what remains after each common beginning."""
    rest: dict[str, list[str]] = {}
    for name in names:
        if name:
            rest.setdefault(name[0], []).append(name[1:])
    other = "".join(map(_escaped, rest))
    parts = [f"[^{other}](?s:.*)" if rest else "(?s:.+)"]
    parts += [f"{_escaped(first)}{any_name_but(after)}" for first, after in rest.items()]
    if "" not in names:
        parts.append("")
    return f"({'|'.join(parts)})"


def _escaped(letter: str) -> str:
    return f"\\x{{{ord(letter):x}}}"
