"""What a caller may ask of a completion, and what is made of it when a request is admitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar, runtime_checkable

from tongwen.engine.constraint import Constraint
from tongwen.errors import RequestError

Number = TypeVar("Number", int, float)
Real = float | int
"""What a caller may write for a number: `temperature=0` too, also where types are checked."""


@runtime_checkable
class SamplingDefaults(Protocol):
    """The sampling values that a checkpoint recommends (`generation_config.json`)."""

    @property
    def do_sample(self) -> bool:
        """Whether to sample at all; else greedy."""
        ...

    @property
    def temperature(self) -> float:
        """Divides the logits."""
        ...

    @property
    def top_p(self) -> float:
        """Where 1 means all."""
        ...

    @property
    def top_k(self) -> int | None:
        """Where `None` means all."""
        ...

    @property
    def repetition_penalty(self) -> float:
        """Where 1 means none."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How the tokens of one completion are chosen and when it ends.

    `None` means the checkpoint's own default.  Note that a default repetition penalty also acts
    on greedy decoding; set `repetition_penalty=1.0` where raw argmax is meant.
    """

    temperature: Real | None = None
    """Divides the logits; 0: always the most probable token."""

    top_p: Real | None = None
    """Keep the fewest most probable tokens whose probabilities reach this sum; 1: all."""

    top_k: int | None = None
    """Keep this many most probable tokens; 0: all."""

    min_p: Real = 0.0
    """Drop tokens less probable than this share of the most probable one's; 0: none."""

    typical_p: Real = 1.0
    """Keep the fewest tokens nearest to the expected information whose probabilities reach this
    sum (locally typical sampling, arXiv 2202.00666); 1: all."""

    repetition_penalty: Real | None = None
    """Positive logits of tokens seen in prompt or completion are divided by it, negative ones
    multiplied (CTRL, arXiv 1909.05858); 1: no effect."""

    presence_penalty: Real = 0.0
    """Subtracted from the logit of every token that the completion already holds."""

    frequency_penalty: Real = 0.0
    """Subtracted from a token's logit once for each time that the completion holds it."""

    logit_bias: Mapping[int, Real] = field(default_factory=dict)
    """Added to the logits of these tokens, before the penalties."""

    allowed_token_ids: Sequence[int] | None = None
    """Nothing but these tokens; `None`: all."""

    bad_token_ids: Sequence[int] = ()
    """None of these tokens."""

    seed: int | None = None
    """The draw is a pure function of logits, parameters, seed and position; `None`: a new seed."""

    max_tokens: int | None = None
    """At most this many tokens; `None`: until the context is full; 0: only look at the prompt."""

    min_tokens: int = 0
    """Neither end of turn nor `stop_token_ids` before this many tokens."""

    stop: str | Sequence[str] = ()
    """End before the first of these strings; it is not part of the text."""

    stop_token_ids: Sequence[int] = ()
    """End at any of these tokens, besides the model's own end of turn."""

    ignore_eos: bool = False
    """Go on past the model's own end of turn; for benchmarks."""

    logprobs: int | None = None
    """Report this many most probable tokens at each position, besides the chosen one's."""

    prompt_logprobs: int | None = None
    """The same for the prompt's own tokens; 0: only their own log-probabilities."""

    prompt_logprobs_from: int = 0
    """Those from this place of the prompt on; of the ones before, which the prefix cache may then
    hold, `None` is reported."""

    echo: bool = False
    """Begin the text with the prompt's."""

    n: int = 1
    """Completions of the prompt."""

    best_of: int | None = None
    """Write this many and give the `n` with the highest mean log-probability; `None`: `n`."""

    loop_guard: bool = False
    """End a completion that repeats itself (finish reason `loop`)."""

    language_guard: Sequence[str] = ()
    """End a completion that leaves these scripts, `Latin` or `Han` (finish reason `language`)."""

    constraint: Constraint | None = None
    """What form the text must have: JSON, a schema, a regular expression, a choice, calls ..."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise RequestError(f"`{name}` must lie between {low} and {high}, not {value}")
        for name, most in _MOST:
            count = len(getattr(self, name) or ())
            if count > most and not isinstance(getattr(self, name), str):
                raise RequestError(f"`{name}` holds {count} entries; at most {most} are taken")
        if sum(map(len, self.stop_strings)) > _STOP_CHARACTERS:
            raise RequestError(f"`stop` holds more than {_STOP_CHARACTERS} characters")
        if any(not string for string in self.stop_strings):
            raise RequestError("`stop` holds an empty string, which would end every completion")
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise RequestError(
                f"`min_tokens` ({self.min_tokens}) is above `max_tokens` ({self.max_tokens})"
            )
        if self.constraint is not None and (self.ignore_eos or self.min_tokens):
            raise RequestError(
                "a completion under a `constraint` ends when that is fulfilled: neither "
                "`ignore_eos` nor `min_tokens` goes with it"
            )
        if self.best_of is not None and self.best_of < self.n:
            raise RequestError(f"`best_of` ({self.best_of}) is below `n` ({self.n})")
        if self.temperature == 0 and self.num_samples > 1:
            raise RequestError(
                f"`temperature` 0 would give the same completion {self.num_samples} times",
                hint="raise `temperature`, or ask for one",
            )
        if self.allowed_token_ids is not None:
            left = set(self.allowed_token_ids) - set(self.bad_token_ids)
            if not left:
                raise RequestError("`allowed_token_ids` less `bad_token_ids` leaves no token")
        for token_id, bias in self.logit_bias.items():
            if not -100 <= bias <= 100:
                raise RequestError(
                    f"`logit_bias` of token {token_id} must lie between -100 and 100, not {bias}"
                )

    @property
    def num_samples(self) -> int:
        """Completions that are written."""
        return self.best_of or self.n

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """`stop`, always as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def resolve(self, defaults: SamplingDefaults, seed: int) -> "Sampling":
        """Fill what is `None` from the checkpoint's defaults, the seed from `seed`."""
        recommended = defaults.temperature if defaults.do_sample else 0.0
        return Sampling(
            temperature=float(_or(self.temperature, recommended)),
            top_p=float(_or(self.top_p, defaults.top_p)),
            top_k=_or(self.top_k, defaults.top_k or 0),
            min_p=float(self.min_p),
            typical_p=float(self.typical_p),
            repetition_penalty=float(_or(self.repetition_penalty, defaults.repetition_penalty)),
            presence_penalty=float(self.presence_penalty),
            frequency_penalty=float(self.frequency_penalty),
            seed=_or(self.seed, seed),
            logprobs=self.logprobs,
            min_tokens=self.min_tokens,
            logit_bias=tuple((token, float(bias)) for token, bias in self.logit_bias.items()),
            bad_token_ids=tuple(self.bad_token_ids),
            allowed_token_ids=_tuple(self.allowed_token_ids),
        )


def _or(asked: Number | None, default: Number) -> Number:
    return default if asked is None else asked


def _tuple(ids: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """The same, every value known: what the sampler reads."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int
    logprobs: int | None
    typical_p: float = 1.0
    min_tokens: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()
    bad_token_ids: tuple[int, ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None

    @property
    def penalizes(self) -> bool:
        """Whether any penalty changes the logits."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 100),
    ("top_p", 0, 1),
    ("top_k", 0, 2**31),
    ("min_p", 0, 1),
    ("typical_p", 1e-6, 1),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("repetition_penalty", 0.01, 100),
    ("seed", -(2**63), 2**63 - 1),
    ("max_tokens", 0, 2**31),
    ("min_tokens", 0, 2**31),
    ("logprobs", 0, 100),
    ("prompt_logprobs", 0, 100),
    ("prompt_logprobs_from", 0, 1 << 31),
    ("n", 1, 128),
    ("best_of", 1, 128),
)


_MOST = (
    ("stop", 256),
    ("stop_token_ids", 4096),
    ("bad_token_ids", 1 << 18),
    ("allowed_token_ids", 1 << 18),
    ("logit_bias", 4096),
)
"""Entries that are taken; each is looked at with every token."""

_STOP_CHARACTERS = 16_384


def params_from(settings: dict[str, Any]) -> SamplingParams:
    """Parameters from names and values, as a command line or a REPL gives them.

    Raises:
        RequestError: A name is unknown.
    """
    known = {known.name for known in fields(SamplingParams)}
    if unknown := sorted(set(settings) - known):
        raise RequestError(f"unknown sampling parameter `{unknown[0]}`; known are {sorted(known)}")
    if settings.get("max_tokens") == 0:  # whoever types wants an answer
        raise RequestError(f"`max_tokens` must lie between 1 and {2**31}, not 0")
    return SamplingParams(**settings)
