import pytest

from tongwen.engine.repeats import most_repeats
from tongwen.engine.schema import Schema, check_schema, relax_schema
from tongwen.errors import RequestError

CONDITIONS = ["not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"]
ON_ITEMS = ["contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems"]
ON_NAMES = ["propertyNames", "unevaluatedProperties", "$dynamicRef", "$anchor"]
NOT_OF_THE_DRAFT = ["nullable", "x-guidance"]


@pytest.mark.parametrize("keyword", CONDITIONS + ON_ITEMS + ON_NAMES + NOT_OF_THE_DRAFT)
def test_an_unsupported_keyword_is_named_wherever_it_stands(keyword: str) -> None:
    inner = {keyword: True, "type": "string"}
    for schema in (
        inner,
        {"properties": {"a/b": inner}},
        {"anyOf": [{"items": inner}]},
        {"additionalProperties": {"$defs": {"a": inner}}},
    ):
        with pytest.raises(RequestError, match=f"`{keyword.replace('$', '.')}` at `#"):
            check_schema(schema)


def test_a_misspelt_keyword_is_named_with_the_right_one() -> None:
    with pytest.raises(RequestError, match=r"`minimun` at `#` .* did you mean `minimum`"):
        check_schema({"type": "integer", "minimun": 3})


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "format": "zip"}, "asks for `zip`; known are date-time"),
        ({"minProperties": 2}, "can be 0 or 1"),
        ({"exclusiveMinimum": True, "minimum": 3}, "draft 4"),
        ({"properties": {"a": {"$id": "x"}}}, "at the top only"),
        ({"$ref": "https://example.org/schema"}, "only references inside"),
        ({"$ref": "#anchor"}, "only references inside"),
        ({"$ref": "#/$defs/a"}, "does not exist"),
        ({"$ref": "#/anyOf/3", "anyOf": [{}]}, "does not exist"),
        ({"$ref": 3}, "only references inside"),
        ({"properties": []}, "must be an object"),
        ({"anyOf": {}}, "must be a list"),
        ({"items": 3}, "neither an object"),
        ({"const": {1, 2}}, "no JSON"),
        ({"multipleOf": 1234567}, "up to 100000"),
        ({"multipleOf": 0.1234567}, "up to 100000"),
    ],
)
def test_what_cannot_be_kept_to_the_letter_is_refused(schema: Schema, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        check_schema(schema)


ENDLESS: list[Schema] = [
    {"$ref": "#"},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    {"type": "object", "additionalProperties": {"$ref": "#"}, "required": ["a"]},
    {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    {"type": "array", "prefixItems": [{}, {"$ref": "#"}], "minItems": 2},
    {"anyOf": [{"$ref": "#"}]},
    {"allOf": [{"$ref": "#"}, {"type": "object"}]},
    # Where the loop may be left out, the completion could still walk into it and never come back.
    {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/loop"}},
        "$defs": {"loop": {"type": "array", "items": {"$ref": "#/$defs/loop"}, "minItems": 1}},
    },
]


@pytest.mark.parametrize("schema", ENDLESS)
def test_a_schema_that_refers_to_itself_without_end_is_refused(schema: Schema) -> None:
    with pytest.raises(RequestError, match="without end"):
        check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "prefixItems": [{}, {"$ref": "#"}], "minItems": 1},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "string", "title": "t", "x-order": 3, "examples": ["a"], "deprecated": True},
        {"type": "integer", "format": "int64"},
        {"multipleOf": 0.01},
        {"properties": {"uniqueItems": {}, "not": {}}, "default": {"not": 1}, "const": {"if": 1}},
    ],
)
def test_what_can_be_kept_is_taken(schema: Schema) -> None:
    check_schema(schema)


def test_a_relaxed_schema_lacks_only_what_cannot_be_enforced() -> None:
    schema = {
        "type": "array",
        "uniqueItems": True,
        "items": {"type": "string", "format": "zip", "maxLength": 3},
    }
    relaxed, dropped = relax_schema(schema)
    assert relaxed == {"type": "array", "items": {"type": "string", "maxLength": 3}}
    assert [(each.path, each.keyword) for each in dropped] == [
        ("#", "uniqueItems"),
        ("#/items", "format"),
    ]
    assert schema["uniqueItems"] is True


@pytest.mark.parametrize(
    ("pattern", "times"),
    [
        ("abc", 1),
        ("a{5}", 5),
        ("a{2,9}b", 9),
        ("a{1,}", 1),
        ("(a{10}b)(c{20})", 20),
        ("((a{100}){100}){100}", 1_000_000),
        ("(a{5}b){6}{7}", 210),
        (r"\{5}[{9}]{7}(", 7),
        ("(?:x(a{3}){4}y){5})", 60),
    ],
)
def test_repetitions_inside_each_other_are_multiplied(pattern: str, times: int) -> None:
    assert most_repeats(pattern) == times
