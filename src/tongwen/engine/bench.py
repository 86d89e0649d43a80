"""How fast a model runs here: tokens per second of decoding and of reading a prompt."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch

from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams

DECODE_TOKENS, PREFILL_TOKENS, SHORT_PROMPT = 64, 512, 16
_PROBE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """One measurement; rates are medians of the repeats."""

    work: str
    """`decode` or `prefill`."""

    tokens: int
    """Tokens computed in one repeat."""

    tokens_per_s: float
    spread: float
    """Difference of the fastest and the slowest repeat, as a share of the median."""

    repeats: int
    numerics: str
    weights_bytes: int
    read_gb_per_s: float
    """What reading memory gave beside the repeats: the wall that decoding meets."""

    wall_share: float | None
    """Decoding's bytes per second as a share of that; every token reads all weights once."""


def measure(llm: LLM, work: str, repeats: int = 5) -> Speed:
    """Time `decode` (64 tokens after a short prompt) or `prefill` (a prompt of 512 tokens)."""
    once = {"decode": _decode, "prefill": _prefill}[work]
    once(llm)  # the first run maps memory and records steps
    rates, reads = [], []
    for _ in range(repeats):
        rates.append(once(llm))
        reads.append(read_bandwidth())
    rate, read = median(rates), median(reads)
    is_decode = work == "decode"
    return Speed(
        work=work,
        tokens=DECODE_TOKENS if is_decode else PREFILL_TOKENS,
        tokens_per_s=round(rate, 2),
        spread=round((max(rates) - min(rates)) / rate, 3),
        repeats=repeats,
        numerics=llm.plan.numerics,
        weights_bytes=llm.plan.weights_bytes,
        read_gb_per_s=round(read / 1e9, 2),
        wall_share=round(rate * _bytes_per_token(llm) / read, 3) if is_decode else None,
    )


def _decode(llm: LLM) -> float:
    """Tokens per second after the first."""
    params = SamplingParams(
        temperature=0, repetition_penalty=1.0, max_tokens=DECODE_TOKENS + 1, ignore_eos=True
    )
    done = llm.generate([_prompt(llm, SHORT_PROMPT)], params)[0]
    return DECODE_TOKENS / done.decode_s


def _prefill(llm: LLM) -> float:
    """Tokens per second until the first is sampled."""
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=1)
    done = llm.generate([_prompt(llm, PREFILL_TOKENS)], params)[0]
    return PREFILL_TOKENS / done.ttft_s


def _prompt(llm: LLM, length: int) -> list[int]:
    """Ordinary ids, the same ones each time, spread over the vocabulary."""
    return [(i * 7919 + 11) % min(100_000, len(llm.tokenizer)) for i in range(length)]


def _bytes_per_token(llm: LLM) -> int:
    """Weights that one token reads: all, but of an embedding apart from the head only a row."""
    if llm.config.tie_word_embeddings:
        return llm.plan.weights_bytes
    return llm.plan.weights_bytes - llm.plan.embedding_bytes


def read_bandwidth() -> float:
    """Bytes per second of reading memory that no cache holds, on all threads; best of two."""
    many = torch.ones(_PROBE_BYTES // 4)
    return _PROBE_BYTES / min(_seconds(many.sum) for _ in range(2))


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started
