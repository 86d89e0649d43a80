"""Verdicts of a model that judges: asked, read, and asked again where it says nothing usable."""

import asyncio
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tongwen.client.client import Client, Reply
from tongwen.engine.params import SamplingParams
from tongwen.errors import BusyError, RequestError, SourceError

Value = TypeVar("Value")
Read = Callable[[str], Value | None]
"""What a judge's words come to; `None`: nothing that can be used."""

_LONGEST_QUOTE = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Tries:
    """How often a judge is asked for one verdict, and how."""

    most: int = 4
    """Tries in all."""

    first_wait_s: float = 0.5
    """Before the second; doubled each time, and spread at random."""

    longest_wait_s: float = 20.0
    temperature_step: float = 0.3
    """Added with each try: asked the same at temperature 0, a judge would say the same again."""

    max_tokens: int = 2048
    """Of each verdict; FastChat's judges have as many."""

    def params(self, number: int, seed: int) -> SamplingParams:
        """How try `number`, from 0 on, is written."""
        return SamplingParams(
            temperature=self.temperature_step * number,
            top_p=1.0,
            repetition_penalty=1.0,
            seed=seed + number,
            max_tokens=self.max_tokens,
        )

    def wait_s(self, number: int) -> float:
        """Seconds before the try after `number`."""
        doubled = self.first_wait_s * 2**number * random.uniform(0.75, 1.25)
        return min(doubled, self.longest_wait_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict(Generic[Value]):
    """What a judge decided, and how it came to it."""

    value: Value
    notes: Mapping[str, Any]
    """The transcript as plain JSON: the judge's name, what it was asked, every try."""


class Judge:
    """Gives verdicts.

    Args:
        client: Reaches the model that judges.
        seed: Of the first try; those after it count on.
        tries: How often it is asked.
    """

    def __init__(self, client: Client, *, seed: int = 0, tries: Tries | None = None) -> None:
        self.client, self.seed, self.tries = client, seed, tries or Tries()

    async def verdict(
        self, conversation: Sequence[Mapping[str, Any]], read: Read[Value]
    ) -> Verdict[Value]:
        """The verdict on what a conversation shows.

        Words that cannot be read, and an endpoint that fails, are met with another try after a
        wait, at a higher temperature and with another seed.

        Raises:
            SourceError: No try gave one; the sample then counts as failed, not as wrong.
            RequestError: The judge refuses what it is asked, as it would refuse it again.
        """
        told: list[dict[str, Any]] = []
        for number in range(self.tries.most):
            value = await self._try(number, conversation, read, told)
            if value is not None:
                return Verdict(value=value, notes=self._notes(conversation, told))
            if number + 1 < self.tries.most:
                await asyncio.sleep(self.tries.wait_s(number))
        raise SourceError(
            f"the judge `{self.client.model}` gave no verdict in {self.tries.most} tries; "
            f"the last: {_quoted(told[-1])}",
            hint="a stronger judge, or one that is within reach",
        )

    async def _try(
        self,
        number: int,
        conversation: Sequence[Mapping[str, Any]],
        read: Read[Value],
        told: list[dict[str, Any]],
    ) -> Value | None:
        """One try, written down in `told`."""
        params = self.tries.params(number, self.seed)
        note: dict[str, Any] = {"temperature": params.temperature, "seed": params.seed}
        told.append(note)
        try:
            reply = await self._ask(conversation, params)
        except (SourceError, BusyError) as error:  # the client's own retries are used up
            note["error"] = error.message
            return None
        value = read(reply.text)
        note |= {"said": reply.text, "finish_reason": reply.finish_reason}
        note["read"] = None if value is None else str(value)
        return value

    async def _ask(
        self, conversation: Sequence[Mapping[str, Any]], params: SamplingParams
    ) -> Reply:
        try:
            return (await self.client.ask(conversation, params))[0]
        except RequestError as error:
            raise RequestError(
                f"the judge `{self.client.model}` cannot be asked: {error.message}",
                hint=error.hint,
            ) from error

    def _notes(
        self, conversation: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        return {
            "judge": self.client.model,
            "asked": [dict(turn) for turn in conversation],
            "tries": [dict(note) for note in told],
        }


async def in_both_orders(
    judge: Judge,
    conversation: Callable[[str, str], Sequence[Mapping[str, Any]]],
    pair: tuple[str, str],
    read: Read[Value],
) -> tuple[Verdict[Value], Verdict[Value]]:
    """The verdicts on two answers as they stand, and the other way round.

    Args:
        judge: Who is asked, twice at once.
        conversation: What it is asked about a first and a second answer.
        pair: The answers.
        read: What its words come to, of the first answer against the second.

    Raises:
        TongwenError: Of one order there is no verdict.
    """
    first, second = pair
    found = await asyncio.gather(
        judge.verdict(conversation(first, second), read),
        judge.verdict(conversation(second, first), read),
        return_exceptions=True,
    )
    for one in found:
        if isinstance(one, BaseException):
            raise one
    straight, swapped = found
    assert isinstance(straight, Verdict), "what was raised is raised again"
    assert isinstance(swapped, Verdict), "what was raised is raised again"
    return straight, swapped


# ---- reading


def rating(text: str, low: float = 1.0, high: float = 10.0) -> float | None:
    """The `[[7]]` of a text, else the `[7]`; `None`: none, several that differ, or out of range.

    FastChat takes the first of several (`fastchat/llm_judge/common.py`); who says two numbers has
    not decided, and is asked again.
    """
    for pattern in (r"\[\[(\d+(?:\.\d+)?)\]\]", r"\[(\d+(?:\.\d+)?)\]"):
        found = {float(each) for each in re.findall(pattern, text)}
        if found:
            value = found.pop()
            return value if not found and low <= value <= high else None
    return None


def label(text: str, labels: Sequence[str]) -> str | None:
    """The one of `labels` that stands in `[[...]]`; `None`: none, or several that differ."""
    found = {each.strip().casefold() for each in re.findall(r"\[\[([^\[\]]+)\]\]", text)}
    known = [each for each in labels if each.casefold() in found]
    return known[0] if len(found) == len(known) == 1 else None


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its `{names}` replaced, once: braces within the values stay as they are.

    Raises:
        RequestError: It names what is not there.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise RequestError(f"the judge's template has `{match[0]}`, for which nothing is there")
        return values[match[1]]

    return re.sub(r"\{([A-Za-z_][A-Za-z_0-9]*)\}", value, template)


def _quoted(note: Mapping[str, Any]) -> str:
    said = str(note["error"] if "error" in note else note["said"])
    plain = " ".join(said.split())
    return f"`{plain[:_LONGEST_QUOTE]}`" if plain else "nothing"
