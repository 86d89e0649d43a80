"""Ollama's `options`: its names for how to sample, in the words of our engine.

Source of names and meanings: `api/types.go` and `docs/modelfile.mdx` of ollama/ollama.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from tongwen.errors import ConfigError
from tongwen.server.errors import invalid, unsupported
from tongwen.server.wire import Wire


def _whole(value: object) -> object:
    """A whole number also where JSON wrote it as 5.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole)]


class Options(Wire):
    """How to sample, and how many tokens; what is null is left to the model's defaults."""

    num_ctx: Annotated[Whole, Field(ge=1)] | None = None
    num_predict: Whole | None = None
    temperature: Number | None = None
    top_k: Whole | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    typical_p: Number | None = None
    repeat_last_n: Whole | None = None
    repeat_penalty: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    seed: Whole | None = None
    stop: str | list[str] | None = None
    mirostat: Whole | None = None
    mirostat_tau: Number | None = None
    mirostat_eta: Number | None = None
    tfs_z: Number | None = None
    penalize_newline: bool | None = None
    vocab_only: bool | None = None
    embedding_only: bool | None = None

    # How llama.cpp computes, not what; `num_keep` belongs to a shift that we do not do.
    idle: ClassVar[frozenset[str]] = frozenset(
        {"numa", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "logits_all"}
        | {"use_mmap", "use_mlock", "num_thread", "num_keep"}
    )

    @model_validator(mode="after")
    def _served(self) -> "Options":
        if self.mirostat:
            raise unsupported("mirostat", "sample with `temperature`, `top_p` and `min_p`")
        if self.tfs_z not in (None, 1.0):
            raise unsupported("tfs_z", "sample with `temperature`, `top_p` and `min_p`")
        if self.penalize_newline is False:
            raise unsupported("penalize_newline", "penalties make no exceptions")
        for name in ("vocab_only", "embedding_only"):
            if getattr(self, name):
                raise unsupported(name, "models are loaded whole")
        if self.num_predict is not None and (self.num_predict < -2 or self.num_predict == 0):
            raise invalid(
                "num_predict",
                f"`num_predict` must be -1 (until the context is full), -2 (the same) or at least"
                f" 1, not {self.num_predict}",
            )
        return self

    def over(self, defaults: "Options") -> "Options":
        """These, and `defaults` where nothing is said."""
        return defaults.model_copy(update=self.model_dump(exclude_none=True))

    def sampling(self) -> dict[str, Any]:
        """What is said, as fields of `SamplingParams`.

        Raises:
            ApiError: The penalty is wanted over so many last tokens, where ours looks at all.
        """
        max_tokens = None if self.num_predict in (-1, -2) else self.num_predict
        given = {
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "top_p": self.top_p,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "repetition_penalty": self._penalty(),
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": None if self.seed == -1 else self.seed,
            "stop": self.stop or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _penalty(self) -> float | None:
        last = self.repeat_last_n
        if last == 0:
            return 1.0
        if last not in (None, -1) and self.repeat_penalty != 1:
            raise unsupported(
                "repeat_last_n",
                f"the penalty looks at the whole text (-1) or is off (0), not at {last} tokens;"
                " with `repeat_penalty` 1 any number will do",
            )
        return self.repeat_penalty


def options_of(given: Mapping[str, Any]) -> Options:
    """Options from names and values that a Modelfile or a record holds.

    Raises:
        ConfigError: A value is none.
        ApiError: One is unknown, or known and not served.
    """
    if unknown := sorted(set(given) - set(Options.model_fields) - Options.idle):
        raise invalid(unknown[0], f"unknown parameter `{unknown[0]}`")
    try:
        return Options.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0] if first["loc"] else "parameters"
        raise ConfigError(f"`{name}`: {first['msg'].removeprefix('Value error, ')}") from error
