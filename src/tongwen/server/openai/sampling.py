"""The sampling parameters that chat and text completions share."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tongwen.engine.constraint import (
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
)
from tongwen.engine.params import SamplingParams
from tongwen.server.errors import invalid, unsupported
from tongwen.server.wire import Wire

Number = Annotated[float, Field(allow_inf_nan=False)]


class StreamOptions(Wire):
    """What a stream says besides its text."""

    include_usage: bool = False
    """End with a chunk that holds the usage."""

    continuous_usage_stats: bool = False
    """Every chunk holds it."""

    include_obfuscation: bool | None = None
    """Accepted and without effect: nothing is added to chunks."""


class SchemaFormat(Wire):
    """A JSON schema under a name."""

    model_config: ClassVar = {**Wire.model_config, "populate_by_name": True}

    name: str = "schema"
    description: str | None = None
    schema_: dict[str, Any] | bool = Field(default=True, alias="schema")
    strict: bool | None = None


class ResponseFormat(Wire):
    """What form an answer must have: OpenAI's words, and those of text-generation-inference.

    huggingface_hub's client writes OpenAI's `json_schema` as the latter's `json_object` with a
    `value`.
    """

    type: Literal["text", "json_object", "json_schema", "json", "regex"]
    json_schema: SchemaFormat | None = None
    value: dict[str, Any] | bool | str | None = None
    """The schema or regular expression, in the words of text-generation-inference."""

    def constraint(self) -> Constraint | None:
        """The same, as the engine has it.

        Raises:
            ApiError: What it needs is missing, or it has what does not belong to it.
        """
        match self.type, self.value, self.json_schema:
            case "text", None, None:
                return None
            case "json_object" | "json", None, None:
                return JsonObject()
            case "json_object" | "json", dict() | bool() as schema, None:
                return JsonSchema(schema)
            case "json_schema", None, SchemaFormat() as given:
                return JsonSchema(given.schema_)
            case "json_schema", None, None:
                raise invalid("response_format", "`json_schema` is missing")
            case "regex", str() as pattern, None:
                return Regex(pattern)
        what = f"what belongs to the type `{self.type}` is missing, or what is there is of no use"
        raise invalid("response_format", what)


class StructuredOutputs(Wire):
    """vLLM's way to ask for a form."""

    json_: dict[str, Any] | bool | str | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "structural_tag": "give `tools`, or a `grammar`",
        "disable_fallback": "there is one backend",
        "disable_any_whitespace": "JSON is written with the blanks that the model likes",
        "whitespace_pattern": "JSON is written with the blanks that the model likes",
    }


class SamplingWire(Wire):
    """The parameters of OpenAI's and vLLM's completions that sample."""

    model: str
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    logit_bias: dict[str, Number] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | bool | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    top_k: int | None = None
    min_p: Number | None = None
    repetition_penalty: Number | None = None
    stop_token_ids: list[int] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    allowed_token_ids: list[int] | None = None
    prompt_logprobs: int | None = None
    prompt_logprobs_from: int | None = None
    return_token_ids: bool | None = None
    priority: int | None = None
    cache_salt: str | None = None
    loop_guard: bool | None = None
    language_guard: list[str] | None = None

    idle: ClassVar[frozenset[str]] = frozenset(
        {"user", "metadata", "safety_identifier", "prompt_cache_key", "request_id"}
    )

    def constraint(self) -> Constraint | None:
        """The form that the answer must have.

        Raises:
            ApiError: More than one is asked for.
        """
        found = [*self._guided(), *self._structured(), *self._format()]
        if len(found) > 1:
            raise invalid("response_format", "more than one form is asked for; give one")
        return found[0] if found else None

    def sampling(self, **more: Any) -> SamplingParams:  # noqa: ANN401 - of the two kinds
        """The parameters, as the engine has them; what is null is left to its defaults.

        Raises:
            RequestError: A value is out of range, or they contradict each other.
            ApiError: A value is no token id.
        """
        if self.stream_options is not None and not self.stream:
            raise invalid("stream_options", "`stream_options` goes with `stream`: true")
        if self.stream and self.prompt_logprobs is not None:
            raise unsupported("prompt_logprobs", "ask without `stream`")
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "n": self.n,
            "seed": self.seed,
            "stop": self.stop,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self._biases(),
            "top_k": 0 if self.top_k == -1 else self.top_k,  # vLLM's word for all
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "stop_token_ids": self.stop_token_ids,
            "min_tokens": self.min_tokens,
            "ignore_eos": self.ignore_eos,
            "allowed_token_ids": self.allowed_token_ids,
            "prompt_logprobs": self.prompt_logprobs,
            "prompt_logprobs_from": self.prompt_logprobs_from,
            "constraint": self.constraint(),
            "loop_guard": self.loop_guard,
            "language_guard": self.language_guard,
            **more,
        }
        return SamplingParams(**{name: value for name, value in given.items() if value is not None})

    def _biases(self) -> dict[int, float] | None:
        if self.logit_bias is None:
            return None
        if any(not token.isascii() or not token.isdigit() for token in self.logit_bias):
            raise invalid("logit_bias", "`logit_bias` maps token ids to numbers")
        if any(len(token) > 10 for token in self.logit_bias):
            raise invalid("logit_bias", "`logit_bias` holds a token id of more than 10 digits")
        return {int(token): bias for token, bias in self.logit_bias.items()}

    def _guided(self) -> list[Constraint]:
        return _constraints(
            "guided_json",
            self.guided_json,
            self.guided_regex,
            self.guided_choice,
            self.guided_grammar,
        )

    def _structured(self) -> list[Constraint]:
        form = self.structured_outputs
        if form is None:
            return []
        name = "structured_outputs.json"
        found = _constraints(name, form.json_, form.regex, form.choice, form.grammar)
        return [*found, JsonObject()] if form.json_object else found

    def _format(self) -> list[Constraint]:
        form = None if self.response_format is None else self.response_format.constraint()
        return [] if form is None else [form]


def _constraints(
    name: str,
    schema: dict[str, Any] | bool | str | None,
    regex: str | None,
    choice: list[str] | None,
    grammar: str | None,
) -> list[Constraint]:
    """The forms that were given; `name` is what the schema is called there."""
    given: list[Constraint | None] = [
        None if schema is None else JsonSchema(_schema(schema, name)),
        None if regex is None else Regex(regex),
        None if choice is None else Choice(choice),
        None if grammar is None else Lark(grammar),
    ]
    return [each for each in given if each is not None]


def _schema(given: dict[str, Any] | bool | str, name: str) -> dict[str, Any] | bool:
    """A schema, also where it was sent as a text."""
    if not isinstance(given, str):
        return given
    try:
        schema = json.loads(given)
    except ValueError as error:
        raise invalid(name, f"`{name}` is no JSON: {error}") from error
    if not isinstance(schema, dict | bool):
        raise invalid(name, f"`{name}` is no JSON schema")
    return schema
