"""At the door: what a request asks is checked, with the numbers, before anything is computed."""

import itertools
import operator
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from tongwen.engine.admission import Admission
from tongwen.engine.constraint import Constraint
from tongwen.engine.guards import guards_for
from tongwen.engine.params import Sampling, SamplingDefaults, SamplingParams
from tongwen.engine.request import Matcher, Request
from tongwen.engine.sampler import Chooser
from tongwen.errors import ContextError, RequestError
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.stream import StopStrings, TextStream


@runtime_checkable
class House(Protocol):
    """What the door must know of the engine behind it."""

    tokenizer: Tokenizer
    defaults: SamplingDefaults
    eos_token_ids: frozenset[int]
    vocab_size: int

    @property
    def most_tokens(self) -> int:
        """Tokens that one request may have, prompt and completion together."""
        ...

    def matcher_for(self, constraint: Constraint) -> Matcher:
        """What holds one completion to a constraint."""
        ...

    def next_id(self) -> int:
        """A number that no other request has."""
        ...

    def root_key(self, adapter: int, salt: str) -> bytes:
        """What cached blocks depend on besides their tokens."""
        ...


def admit(
    house: House, prompt_ids: Sequence[int], params: SamplingParams, admission: Admission
) -> Request:
    """Make a request, and the followers that share its prompt.

    Raises:
        RequestError: The prompt is empty, holds unknown ids, or does not fit; or the parameters
            name tokens that do not exist.
    """
    try:
        prompt_ids = [operator.index(token_id) for token_id in prompt_ids]
    except TypeError as error:
        raise RequestError(f"a prompt's token ids are whole numbers: {error}") from error
    looks_only = params.max_tokens == 0 or admission.pooling is not None
    check_prompt(house, prompt_ids, room=0 if looks_only else 1)
    check_ids(house, params)
    room = house.most_tokens - len(prompt_ids)
    if params.max_tokens is not None and params.max_tokens > room:
        raise ContextError(
            f"a prompt of {len(prompt_ids)} tokens and `max_tokens` {params.max_tokens} "
            f"exceed the context of {house.most_tokens}",
            hint=f"ask for at most {room} tokens, or raise `context`",
        )
    if admission.adapter >= 0:
        raise RequestError(f"no adapter {admission.adapter} is loaded")
    if looks_only and params.num_samples > 1:
        raise RequestError(
            f"{params.num_samples} completions are asked for, but none is to be written",
            hint="ask for one, or raise `max_tokens`",
        )
    max_tokens = 0 if looks_only else room if params.max_tokens is None else params.max_tokens
    sampling = params.resolve(house.defaults, seed=secrets.randbits(63))
    if params.num_samples > 1 and sampling.temperature == 0:
        raise RequestError(
            f"greedy decoding would give the same completion {params.num_samples} times",
            hint="set `temperature`, or ask for one",
        )
    leader, *followers = (
        _request(house, list(prompt_ids), params, admission, chooser, max_tokens=max_tokens)
        for chooser in _choosers(house, prompt_ids, params, sampling)
    )
    leader.followers = followers
    for follower in followers:  # the prompt is looked at once for all
        follower.prompt_logprobs = leader.prompt_logprobs
        follower.prompt_top_logprobs = leader.prompt_top_logprobs
    return leader


def _seeded(sampling: Sampling, number: int) -> Sampling:
    """The `number`-th completion of a prompt has its own seed, counted from the first's."""
    seed = sampling.seed + number
    return replace(sampling, seed=seed if seed < 2**63 else seed - 2**64)


def _stops(house: House, params: SamplingParams) -> frozenset[int]:
    """Tokens that end the completion."""
    own = frozenset() if params.ignore_eos else house.eos_token_ids
    return own | frozenset(params.stop_token_ids)


def _choosers(
    house: House, prompt_ids: Sequence[int], params: SamplingParams, sampling: Sampling
) -> Iterator[Chooser]:
    """How each completion of the prompt chooses its tokens."""
    for number in range(params.num_samples):
        seeded = _seeded(sampling, number)
        chooser = Chooser(seeded, _stops(house, params), house.vocab_size)
        chooser.count(prompt_ids, generated=False)
        yield chooser


def _request(
    house: House,
    prompt_ids: list[int],
    params: SamplingParams,
    admission: Admission,
    chooser: Chooser,
    *,
    max_tokens: int,
) -> Request:
    echoed = house.tokenizer.decode(prompt_ids) if params.echo else ""
    own = admission.salt is None  # a caller's name is nobody else's salt
    salt = f"caller {admission.caller}" if own else f"salt {admission.salt}"
    return Request(
        request_id=house.next_id(),
        prompt_ids=prompt_ids,
        chooser=chooser,
        max_tokens=max_tokens,
        stop_token_ids=_stops(house, params),
        text_stream=TextStream(house.tokenizer),
        stop_strings=StopStrings(params.stop_strings),
        text=echoed,
        caller=admission.caller,
        priority=admission.priority,
        adapter=admission.adapter,
        salt=salt,
        root_key=house.root_key(admission.adapter, salt),
        guards=guards_for(params),
        matcher=None if params.constraint is None else house.matcher_for(params.constraint),
        pooling=admission.pooling,
        num_prompt_logprobs=params.prompt_logprobs,
        prompt_logprobs_from=params.prompt_logprobs_from,
        num_wanted=params.n,
    )


def check_prompt(house: House, prompt_ids: Sequence[int], *, room: int = 1) -> None:
    """Refuse what cannot be computed: nothing, too much, or ids that do not exist.

    Args:
        house: The engine.
        prompt_ids: The prompt.
        room: Tokens that must be left in the context.

    Raises:
        RequestError: With the numbers.
    """
    if not prompt_ids:
        raise RequestError("the prompt is empty", hint="give at least one token")
    if len(prompt_ids) + room > house.most_tokens:
        raise ContextError(
            f"a prompt of {len(prompt_ids)} tokens does not fit the context of "
            f"{house.most_tokens}" + (f", with {room} to be written" if room else ""),
            hint="shorten the prompt or raise `context`",
        )
    _check_known(house, prompt_ids, "token id")


def check_ids(house: House, params: SamplingParams) -> None:
    """Refuse parameters that name tokens which do not exist.

    Raises:
        RequestError: With the first such id.
    """
    allowed = params.allowed_token_ids or ()
    named = itertools.chain(params.stop_token_ids, params.bad_token_ids, allowed, params.logit_bias)
    _check_known(house, list(named), "the parameters' token id")


def _check_known(house: House, token_ids: Sequence[int], what: str) -> None:
    for token_id in (min(token_ids, default=0), max(token_ids, default=0)):
        if not 0 <= token_id < house.vocab_size:
            raise RequestError(f"{what} {token_id} is outside the vocabulary of {house.vocab_size}")
