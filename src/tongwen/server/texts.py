"""Texts to vectors and to log-probabilities, for every dialect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tongwen.engine.completion import Pooling
from tongwen.engine.params import SamplingParams
from tongwen.errors import ContextError
from tongwen.server.errors import invalid
from tongwen.server.served import Ask, Served
from tongwen.server.service import Done, Manner, Service

Result = TypeVar("Result")

_LOOK = SamplingParams(max_tokens=0)


@dataclass(frozen=True, slots=True)
class _Text:
    """A text to be looked at."""

    model: str
    text: str | Sequence[int]
    params: SamplingParams
    pooling: Pooling | None = None
    truncate: bool = False
    """Whether tokens beyond the context are left out, in place of a refusal."""

    num_ctx: int | None = None
    """A smaller context; `None`: the model's."""

    @property
    def length(self) -> int:
        """Characters, or ids."""
        return len(self.text)

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TokenizerError: The text cannot be encoded.
            ContextError: It is longer than `num_ctx`.
        """
        text = self.text
        ids = served.llm.tokenizer.encode(text) if isinstance(text, str) else list(text)
        most = min(self.num_ctx or served.llm.context, served.llm.context)
        if self.truncate:
            ids = ids[:most]
        if self.num_ctx is not None and len(ids) > most:
            raise ContextError(f"a text of {len(ids)} tokens does not fit the context of {most}")
        ask = Ask(prompt_ids=ids, params=self.params, pooling=self.pooling, has_defaults=True)
        return ask if self.num_ctx is None else served.within(ask, self.num_ctx)


async def embed(
    service: Service,
    manner: Manner,
    model: str,
    texts: Sequence[str | Sequence[int]],
    *,
    pooling: Pooling = "mean",
    dimensions: int | None = None,
    truncate: bool = False,
    num_ctx: int | None = None,
) -> tuple[list[np.ndarray], list[Done]]:
    """A vector of length 1 for each text, in order.

    Args:
        service: The server's.
        manner: Who asks.
        model: Which model.
        texts: Texts, or token ids.
        pooling: The mean of the hidden states, or the last.
        dimensions: The first so many values, made a vector of length 1 again; `None`: all.
        truncate: Leave out what is beyond the context, in place of a refusal.
        num_ctx: A smaller context than the model's; `None`: all of it.

    Raises:
        TongwenError: One of them cannot be made.
        ApiError: `dimensions` is more than the model has.
    """
    wishes = [_Text(model, text, _LOOK, pooling, truncate, num_ctx) for text in texts]
    done = await service.complete_all(wishes, manner)
    vectors = [np.asarray(each.completions[0].vector, dtype=np.float32) for each in done]
    if dimensions is None:
        return vectors, done
    if dimensions > len(vectors[0]):
        raise invalid("dimensions", f"`dimensions` is {dimensions}, of {len(vectors[0])}")
    cut = [vector[:dimensions] for vector in vectors]
    return [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in cut], done


async def score(
    service: Service, manner: Manner, model: str, texts: Sequence[str | Sequence[int]]
) -> list[Done]:
    """Each text with the log-probability of its every token (`Completion.prompt_logprobs`).

    Raises:
        TongwenError: One of them cannot be looked at.
    """
    params = SamplingParams(max_tokens=0, prompt_logprobs=0)
    wishes = [_Text(model, text, params) for text in texts]
    return await service.complete_all(wishes, manner)
