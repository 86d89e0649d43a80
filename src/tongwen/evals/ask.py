"""Putting a question to a model through whatever client reaches it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tongwen.client.client import Client, Prompt, Reply
from tongwen.errors import ModelNotFoundError, RequestError
from tongwen.evals.question import Answer, Generate, Likelihood, Question, Rank, Weigh


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question that was answered."""

    prompt: Any
    """What the model was given, as JSON: a text, a conversation, or pairs."""

    prompt_digest: str
    """SHA-256 of the token ids, or where an endpoint does not tell those, of the text."""

    answers: tuple[Answer, ...]
    """Of each completion."""


async def ask(client: Client, question: Question) -> Asked:
    """The model's answers to a question.

    Raises:
        TongwenError: It cannot be served, also after the client's retries.
    """
    match question:
        case Generate():
            return await _write(client, question)
        case Rank():
            return await _rank(client, question)
        case Weigh():
            return await _weigh(client, question)


# ---- writing


async def _write(client: Client, question: Generate) -> Asked:
    prompt = question.prompt
    digest = await _digest(client, prompt)
    first = await client.ask(prompt, question.params)
    answers = [await _go_on(client, question, *each) for each in enumerate(first)]
    said: Any = prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]
    if question.follow_ups:
        said = {"conversation": said, "then": list(question.follow_ups)}
    return Asked(prompt=said, prompt_digest=digest, answers=tuple(answers))


async def _go_on(client: Client, question: Generate, number: int, first: Reply) -> Answer:
    """The rest of a conversation after its first answer, with the seed of this completion."""
    seed = None if question.params.seed is None else question.params.seed + number
    replies, params = [first], replace(question.params, n=1, seed=seed)
    if question.follow_ups and isinstance(question.prompt, str):
        raise RequestError("a text has no further turns: give a conversation")
    turns = [] if isinstance(question.prompt, str) else [dict(turn) for turn in question.prompt]
    for said in question.follow_ups:
        turns.append({"role": "assistant", "content": replies[-1].text})
        turns.append({"role": "user", "content": said})
        replies += await client.ask(turns, params)
    ids = [reply.token_ids for reply in replies]
    return Answer(
        turns=tuple(reply.text for reply in replies),
        token_ids=tuple(each for some in ids for each in some or ()) if None not in ids else None,
        finish_reason=replies[-1].finish_reason,
    )


async def _digest(client: Client, prompt: Prompt) -> str:
    try:
        return digest_of(await client.encode(prompt))
    except ModelNotFoundError:  # 404: OpenAI's own dialect has no such path
        return "text:" + hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()


def digest_of(token_ids: Sequence[int]) -> str:
    """SHA-256 of token ids, as little-endian 32-bit integers."""
    return hashlib.sha256(np.asarray(token_ids, dtype="<i4").tobytes()).hexdigest()


# ---- weighing


@dataclass(frozen=True, slots=True)
class _Pair:
    """A context and its continuation in one list of ids."""

    token_ids: list[int]
    start: int
    """Where the continuation begins."""


async def _rank(client: Client, question: Rank) -> Asked:
    """All continuations; the first before the others, which find its context in the cache."""
    contexts: dict[str, list[int]] = {}
    pairs = [await _pair(client, each, contexts) for each in question.pairs]
    logprobs = await _score(client, pairs[:1]) + await _score(client, pairs[1:])
    found = [
        Likelihood(logprob=sum(each), num_tokens=len(each)) if each else _nothing(pair)
        for each, pair in zip(logprobs, question.pairs, strict=True)
    ]
    return Asked(
        prompt=[list(pair) for pair in question.pairs],
        prompt_digest=digest_of([one for pair in pairs for one in (*pair.token_ids, pair.start)]),
        answers=(Answer(likelihoods=tuple(found)),),
    )


async def _pair(client: Client, pair: tuple[str, str], contexts: dict[str, list[int]]) -> _Pair:
    """Encoded together, as they would be met; blanks between them belong to the continuation.

    The rule of lm-evaluation-harness (`lm_eval/api/model.py`, `_encode_pair`).
    """
    context, continuation = pair
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation
    if kept not in contexts:
        contexts[kept] = await client.encode(kept) if kept else []
    if not kept:
        raise RequestError("a continuation without a context cannot be weighed")
    return _Pair(await client.encode(kept + continuation), len(contexts[kept]))


async def _score(client: Client, pairs: Sequence[_Pair]) -> list[list[float]]:
    if not pairs:
        return []
    found = await client.score([pair.token_ids for pair in pairs], [pair.start for pair in pairs])
    return [
        [float(one) for one in logprobs[pair.start :] if one is not None]
        for logprobs, pair in zip(found, pairs, strict=True)
    ]


def _nothing(pair: tuple[str, str]) -> Likelihood:
    raise RequestError(f"the continuation `{pair[1][:40]}` has no token of its own")


async def _weigh(client: Client, question: Weigh) -> Asked:
    token_ids = await client.encode(question.text)
    size = question.window or len(token_ids)
    windows = [token_ids[first : first + size] for first in range(0, len(token_ids), size)]
    found = await client.score(windows)
    logprobs = [one for window in found for one in window if one is not None]
    weight = Likelihood(logprob=float(sum(logprobs)), num_tokens=len(logprobs))
    return Asked(
        prompt=question.text,
        prompt_digest=digest_of(token_ids),
        answers=(Answer(likelihoods=(weight,)),),
    )


# ---- as JSON


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as a record holds it; floats keep every bit."""
    said: dict[str, Any] = {}
    if answer.turns:
        said |= {"turns": list(answer.turns), "finish_reason": answer.finish_reason}
    if answer.token_ids is not None:
        said["token_ids"] = list(answer.token_ids)
    if answer.likelihoods:
        said["likelihoods"] = [[each.logprob, each.num_tokens] for each in answer.likelihoods]
    return said


def answer_from(said: Mapping[str, Any]) -> Answer:
    """An answer from its record.

    Raises:
        LookupError, TypeError, ValueError: It is none.
    """
    token_ids = said.get("token_ids")
    return Answer(
        turns=tuple(said.get("turns", ())),
        likelihoods=tuple(
            Likelihood(logprob=float(logprob), num_tokens=int(count))
            for logprob, count in said.get("likelihoods", ())
        ),
        token_ids=None if token_ids is None else tuple(token_ids),
        finish_reason=said.get("finish_reason", "stop"),
    )
