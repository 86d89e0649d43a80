r"""Names of properties, each written in one way only.

In JSON `"\u0061ge"` is the name `age`.  llguidance compares names letter by letter and takes it for
another one, whose value is free: a model can so step around a property's schema, and does.  Names
that a pattern describes are written without needless escapes, so where a schema leaves other
properties open, a pattern lets in all of them.
"""

from typing import Any

from tongwen.engine.schema import Schema

ANY_NAME = "(?s:.*)"
"""Of a pattern's names each is written in one way; this is the pattern of all."""

_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalItems", "additionalProperties")


def with_plain_names(schema: Schema) -> Schema:
    """The same schema, but that other properties' names are written without escapes."""
    if isinstance(schema, bool):
        return schema
    plain: dict[str, Any] = dict(schema)
    for key in _MAPS:
        if key in plain:
            plain[key] = {name: with_plain_names(each) for name, each in plain[key].items()}
    for key in _LISTS:
        if key in plain:
            plain[key] = [with_plain_names(each) for each in plain[key]]
    for key in _SINGLES:
        if key in plain:
            plain[key] = with_plain_names(plain[key])
    is_open = plain.get("additionalProperties", True) is True
    if "properties" in plain and "patternProperties" not in plain and is_open:
        plain |= {"patternProperties": {ANY_NAME: {}}, "additionalProperties": False}
    return plain
