"""Random JSON schemas, each satisfiable, and completions drawn at random under a mask."""

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from tongwen.engine.matcher import Matcher, unpack
from tongwen.tokenizer.bpe import Tokenizer

Schema = dict[str, Any]
NAMES = ("id", "name", "größe", "a b", 'say "hi"', "x/y", "tags", "n", "next", "名")
PATTERNS = ("^[a-z]+$", r"^\d{3}-\d{4}$", "^(foo|bar)?x*$", "ab", r"^[^\\]{0,5}$", r"^\w+@\w+$")
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "duration")
ENUMS = (["a", "b c", 'q"'], [1, 2.5, None], [True, "é"], [{"k": [1]}, []], ["x"])


def random_schema(random: Random) -> Schema:
    """A schema with definitions, one of which may hold itself."""
    node: Schema = {
        "type": "object",
        "properties": {"value": scalar(random), "next": {"$ref": "#/$defs/node"}},
        "required": ["value"],
        "additionalProperties": False,
    }
    definitions = {"node": node, "scalar": scalar(random), "x~/y": array(random, 1)}
    return part(random, 3) | {"$defs": definitions}


def part(random: Random, depth: int) -> Schema:
    kinds = [scalar, scalar, reference, choice]
    if depth:
        kinds = [mapping, mapping, mapping, listing, any_of, all_of, reference, scalar]
    kind = random.choice(kinds)
    return kind(random) if kind in (scalar, reference, choice) else kind(random, depth - 1)


def scalar(random: Random) -> Schema:
    return random.choice([whole, real, text, whole, text, nothing])(random)


def nothing(random: Random) -> Schema:
    return {"type": random.choice(["null", "boolean", ["null", "boolean"]])}


def whole(random: Random) -> Schema:
    low = random.randint(-1000, 1000)
    schema: Schema = {"type": "integer"}
    if random.random() < 0.6:
        schema[random.choice(["minimum", "exclusiveMinimum"])] = low
    if random.random() < 0.6:
        schema[random.choice(["maximum", "exclusiveMaximum"])] = low + random.randint(20, 5000)
    if random.random() < 0.2:
        schema["multipleOf"] = random.choice([2, 5, 7])
    return schema


def real(random: Random) -> Schema:
    low = round(random.uniform(-100, 100), random.randint(0, 3))
    schema: Schema = {"type": "number"}
    if random.random() < 0.6:
        schema["minimum"] = low
    if random.random() < 0.6:
        schema["maximum"] = low + random.choice([0.5, 7, 1000.25])
    return schema


def text(random: Random) -> Schema:
    schema: Schema = {"type": "string"}
    kind = random.random()
    if kind < 0.3:
        schema["minLength"] = random.randint(0, 4)
        schema["maxLength"] = schema["minLength"] + random.randint(0, 9)
    elif kind < 0.5:
        schema["pattern"] = random.choice(PATTERNS)
    elif kind < 0.65:
        schema["format"] = random.choice(FORMATS)
    return schema


def choice(random: Random) -> Schema:
    values = random.choice(ENUMS)
    return {"const": random.choice(values)} if random.random() < 0.4 else {"enum": values}


def reference(random: Random) -> Schema:
    return {"$ref": random.choice(["#/$defs/node", "#/$defs/scalar", "#/$defs/x~0~1y"])}


def array(random: Random, depth: int) -> Schema:
    return {"type": "array", "items": part(random, 0) if depth else scalar(random), "maxItems": 3}


def listing(random: Random, depth: int) -> Schema:
    schema: Schema = {"type": "array", "items": part(random, depth)}
    if random.random() < 0.3:
        schema["prefixItems"] = [part(random, depth) for _ in range(random.randint(1, 2))]
    if random.random() < 0.6:
        schema["minItems"] = random.randint(0, 3)
    if random.random() < 0.6:
        schema["maxItems"] = schema.get("minItems", 0) + random.randint(1, 3)
    return schema


def mapping(random: Random, depth: int) -> Schema:
    names = random.sample(NAMES, random.randint(0, 4))
    schema: Schema = {
        "type": "object",
        "properties": {name: part(random, depth) for name in names},
        "required": random.sample(names, random.randint(0, len(names))),
        "title": "not enforced",
    }
    rest = random.random()
    if rest < 0.4:
        schema["additionalProperties"] = False
    elif rest < 0.6:
        schema["additionalProperties"] = scalar(random)
    elif rest < 0.7:
        schema["patternProperties"] = {"^x-": scalar(random)}
        schema["additionalProperties"] = False
    if not names and rest >= 0.7:
        schema |= {"minProperties": 1, "maxProperties": random.randint(1, 3)}
    return schema


def any_of(random: Random, depth: int) -> Schema:
    return {"anyOf": [part(random, depth) for _ in range(random.randint(1, 3))]}


def all_of(random: Random, depth: int) -> Schema:
    properties = {name: part(random, depth) for name in random.sample(NAMES, 2)}
    first, second = properties.items()
    return {
        "allOf": [
            {"type": "object", "properties": dict([first]), "required": [first[0]]},
            {"properties": dict([second])},
        ]
    }


def draw(
    matcher: Matcher,
    tokenizer: Tokenizer,
    random: Random,
    *,
    ends: Sequence[int],
    patience: int = 40,
    limit: int = 3000,
) -> list[int]:
    """A completion of random tokens under the mask, which ends as soon as it may.

    After `patience` tokens those that close something are preferred; the completion must be over
    before `limit`.
    """
    closers = [tokenizer.encode(text)[0] for text in '"}]0Zab@']
    drawn: list[int] = []
    while not matcher.is_finished:
        assert len(drawn) < limit, "a completion that cannot end"
        mask = matcher.mask()
        assert mask is not None, "these grammars have no free text"
        allowed = np.flatnonzero(unpack(mask, 32 * len(mask))).tolist()
        assert max(allowed) < len(tokenizer), "padding is allowed"
        hurries = len(drawn) > patience and random.random() < 0.9
        token_id = pick(allowed, [ends, closers if hurries else ()], random)
        matcher.accept(token_id)
        drawn.append(token_id)
    return drawn


def pick(allowed: list[int], preferred: Sequence[Sequence[int]], random: Random) -> int:
    for wanted in preferred:
        if found := sorted({*wanted} & {*allowed}):
            return random.choice(found)
    return random.choice(allowed)
