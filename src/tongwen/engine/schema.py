"""Which JSON schemas can be enforced, and which are refused at the door.

llguidance turns a schema into a grammar.  It passes over keywords that it does not know, lets a
schema refer to itself without end, and bounds the size of what it builds, not of what it is given;
so all of that is looked at here first.  The keywords are those of draft 2020-12.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tongwen.engine.repeats import check_repeats
from tongwen.errors import RequestError

MAX_BYTES = 65_536
"""A schema, as JSON."""

MAX_DEPTH = 48
"""Objects and lists inside each other."""

MAX_PROPERTIES = 500
"""Properties of one object."""

MAX_MULTIPLE = 100_000
"""Digits of `multipleOf` without the point: the automaton has a state for each remainder."""

_OF_ANY = ("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref")
_OF_OBJECTS = ("required", "minProperties", "maxProperties")
_OF_ARRAYS = ("minItems", "maxItems")
_OF_TEXTS = ("minLength", "maxLength", "pattern", "format")
_OF_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_NOTES = ("$schema", "$id", "$comment", "title", "description", "default", "deprecated")
_CONTENT = ("contentMediaType", "contentEncoding")
_FORMATS = (
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
)
MAPS = ("properties", "patternProperties", "$defs", "definitions")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLES = ("items", "additionalItems", "additionalProperties")
_ENFORCED = frozenset(
    (*_OF_ANY, *_OF_OBJECTS, *_OF_ARRAYS, *_OF_TEXTS, *_OF_NUMBERS, *MAPS, *LISTS, *SINGLES)
)
_HARMLESS = frozenset((*_NOTES, "example", "examples", "readOnly", "writeOnly", *_CONTENT))

Schema = Mapping[str, Any] | bool


@dataclass(frozen=True, slots=True)
class Unenforced:
    """A keyword that stands in a schema and cannot be enforced."""

    path: str
    """Where the schema stands that holds it, as a JSON pointer."""

    keyword: str
    """The keyword."""

    reason: str
    """Why not, and what would be right."""

    def __str__(self) -> str:
        return f"`{self.keyword}` at `{self.path}` {self.reason}"


def check_schema(schema: Schema) -> None:
    """Refuse a schema that cannot be enforced to the letter.

    Raises:
        RequestError: It is no schema, larger than the limits above, has a keyword that cannot be
            enforced, or refers to itself without end.
    """
    _check_size(schema)
    for _, each in _walk(schema, "#"):
        _check_values(each)
    for unenforced in unenforced_keywords(schema):
        raise RequestError(f"the JSON schema's {unenforced}")
    _check_references(schema)


def relax_schema(schema: Schema) -> tuple[Schema, list[Unenforced]]:
    """The schema without the keywords that cannot be enforced, and a list of these.

    For tools whose definitions are not the caller's own and not `strict`.

    Raises:
        RequestError: As for `check_schema`, but for such keywords.
    """
    _check_size(schema)
    relaxed: Schema = json.loads(json.dumps(schema))
    dropped = []
    for path, each in _walk(relaxed, "#"):
        for unenforced in list(_unenforced(path, each)):
            dropped.append(unenforced)
            assert isinstance(each, dict), "a schema of which a keyword is dropped is an object"
            del each[unenforced.keyword]
        _check_values(each)
    _check_references(relaxed)
    return relaxed, dropped


def unenforced_keywords(schema: Schema) -> Iterator[Unenforced]:
    """Every keyword of a schema and its subschemas that cannot be enforced."""
    for path, each in _walk(schema, "#"):
        yield from _unenforced(path, each)


def _check_size(schema: object) -> None:
    try:
        num_bytes = len(json.dumps(schema).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"the JSON schema is no JSON: {error}") from None
    if num_bytes > MAX_BYTES:
        raise RequestError(f"the JSON schema has {num_bytes} bytes; at most {MAX_BYTES} are taken")
    depth = _depth(schema)
    if depth > MAX_DEPTH:
        raise RequestError(f"the JSON schema is {depth} levels deep; at most {MAX_DEPTH} are taken")


def _depth(value: object) -> int:
    """Levels of nesting; `json.dumps` has bounded them before."""
    deepest, level = 0, [value]
    while level := [inner for outer in level for inner in _inside(outer)]:
        deepest += 1
    return deepest


def _inside(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


def _walk(schema: object, path: str) -> Iterator[tuple[str, Schema]]:
    """A schema and its subschemas, each with its JSON pointer."""
    if not isinstance(schema, Mapping | bool):
        raise RequestError(f"the JSON schema at `{path}` is neither an object nor true or false")
    yield path, schema
    if isinstance(schema, bool):
        return
    for keyword in (key for key in MAPS if key in schema):
        if not isinstance(schema[keyword], Mapping):
            raise RequestError(f"`{keyword}` at `{path}` of the JSON schema must be an object")
        for name, inner in schema[keyword].items():
            yield from _walk(inner, f"{path}/{keyword}/{_escape(name)}")
    for keyword in (key for key in LISTS if key in schema):
        if not isinstance(schema[keyword], list | tuple):
            raise RequestError(f"`{keyword}` at `{path}` of the JSON schema must be a list")
        for place, inner in enumerate(schema[keyword]):
            yield from _walk(inner, f"{path}/{keyword}/{place}")
    for keyword in (key for key in SINGLES if key in schema):
        yield from _walk(schema[keyword], f"{path}/{keyword}")


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _unenforced(path: str, schema: Schema) -> Iterator[Unenforced]:
    if isinstance(schema, bool):
        return
    for keyword, value in schema.items():
        if keyword not in _ENFORCED | _HARMLESS and not _is_extension(keyword):
            yield Unenforced(path, keyword, "is not supported" + _meant(keyword))
        elif keyword == "format" and value not in _FORMATS and _may_be_text(schema):
            known = ", ".join(_FORMATS)
            yield Unenforced(path, keyword, f"asks for `{value}`; known are {known}")
        elif keyword == "minProperties" and value not in (0, 1):
            reason = "can be 0 or 1: names may repeat where they are not listed"
            yield Unenforced(path, keyword, reason)
        elif keyword == "$id" and path != "#":
            yield Unenforced(path, keyword, "is supported at the top only")
        elif keyword == "multipleOf" and _coefficient(value) > MAX_MULTIPLE:
            yield Unenforced(path, keyword, f"may have a coefficient of up to {MAX_MULTIPLE}")


def _is_extension(keyword: str) -> bool:
    return keyword.startswith("x-") and keyword != "x-guidance"


def _may_be_text(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type", "string")
    return "string" in (kinds if isinstance(kinds, list) else [kinds])


def _coefficient(value: object) -> int:
    digits = f"{value:.15g}" if isinstance(value, int | float) else ""
    digits = digits.partition("e")[0].replace(".", "").lstrip("-0")
    return int(digits or 0)


def _meant(keyword: str) -> str:
    close = difflib.get_close_matches(keyword, _ENFORCED, n=1, cutoff=0.8)
    return f"; did you mean `{close[0]}`?" if close else ""


def _check_values(schema: Schema) -> None:
    """Refuse values whose cost grows beyond their size, or whose meaning has changed."""
    if isinstance(schema, bool):
        return
    for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(schema.get(keyword), bool):
            raise RequestError(
                f"`{keyword}` of the JSON schema is true or false, as in draft 4",
                hint=f"write the bound itself as `{keyword}`",
            )
    properties = schema.get("properties", {})
    if isinstance(properties, Mapping) and len(properties) > MAX_PROPERTIES:
        raise RequestError(
            f"an object of the JSON schema has {len(properties)} properties; "
            f"at most {MAX_PROPERTIES} are taken"
        )
    patterns = [schema.get("pattern"), *schema.get("patternProperties", {})]
    for pattern in (pattern for pattern in patterns if isinstance(pattern, str)):
        check_repeats(pattern)


def _check_references(schema: Schema) -> None:
    """Refuse references out of the schema, to nothing, and in a circle without a way out."""
    pending = {
        each["$ref"]: None
        for _, each in _walk(schema, "#")
        if isinstance(each, Mapping) and "$ref" in each
    }
    targets = {reference: _resolve(schema, reference) for reference in pending}
    finite: set[str] = set()
    while found := {
        reference for reference in targets.keys() - finite if _is_finite(targets[reference], finite)
    }:
        finite |= found
    if endless := sorted(targets.keys() - finite):
        raise RequestError(
            f"`{endless[0]}` of the JSON schema refers to itself without end",
            hint="make the property that leads back optional, or allow null in its place",
        )


def _resolve(schema: Schema, reference: object) -> object:
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise RequestError(
            f"`$ref` of the JSON schema is `{reference}`; only references inside the schema, "
            "such as `#/$defs/name`, are followed"
        )
    place: Any = schema
    for step in unquote(reference).split("/")[1:]:
        key: Any = step.replace("~1", "/").replace("~0", "~")
        try:
            place = place[int(key) if isinstance(place, list | tuple) else key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise RequestError(
                f"`$ref` of the JSON schema is `{reference}`, which does not exist"
            ) from None
    return place


def _is_finite(schema: object, finite: set[str]) -> bool:
    """Whether some value of finite length satisfies a schema, if the `finite` references do."""
    if not isinstance(schema, Mapping):
        return True
    parts = [
        "$ref" not in schema or schema["$ref"] in finite,
        all(_is_finite(each, finite) for each in schema.get("allOf", ())),
        *(
            any(_is_finite(each, finite) for each in schema[key]) or not schema[key]
            for key in ("anyOf", "oneOf")
            if key in schema
        ),
    ]
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        required = schema.get("required", ())
        parts += [_is_finite(properties.get(name, rest), finite) for name in required]
    if kind == "array":
        first = schema.get("prefixItems", ())[: schema.get("minItems", 0)]
        parts += [_is_finite(each, finite) for each in first]
        if schema.get("minItems", 0) > len(first):
            parts.append(_is_finite(schema.get("items", True), finite))
    return all(parts)
