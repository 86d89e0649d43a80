"""How fast a model runs here: decoding, reading a prompt, serving many at once."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep

import torch

from tongwen.engine.completion import Completion
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.engine.traffic import (
    Goals,
    Latencies,
    Load,
    Run,
    Timing,
    latencies,
    prompt_ids,
    spread,
)
from tongwen.kernels.machine import Machine
from tongwen.model.account import forward_flops

DECODE_TOKENS, PREFILL_TOKENS, SHORT_PROMPT = 64, 512, 16
_PROBE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Probes:
    """What the machine could do beside the repeats: the walls; medians."""

    read_gb_per_s: float
    """Reading memory that no cache holds: the wall that decoding meets."""

    peak_int8_gops: float | None
    """Multiplies and adds of 8-bit integers from registers, in 10^9 a second: the wall that prompts
    and batches meet; `None` without native kernels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """One measurement; rates are medians of the repeats."""

    work: str
    """`decode`, `prefill` or `serve`."""

    tokens: int
    """Tokens counted in one repeat."""

    tokens_per_s: float
    spread: float
    """Difference of the fastest and the slowest repeat, as a share of the median."""

    repeats: int
    numerics: str
    weights_bytes: int
    read_gb_per_s: float
    """As in `Probes`."""

    peak_int8_gops: float | None
    """As in `Probes`."""

    wall_share: float | None
    """Share of the wall that was reached: decoding's bytes per second of `read_gb_per_s` (every
    token reads all weights once), a prompt's operations per second of `peak_int8_gops`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSpeed(Speed):
    """Many requests at once; `tokens_per_s` are output tokens over the time that all took."""

    load: Load
    latencies: Latencies
    """Over the requests of all repeats."""


def measure(llm: LLM, work: str, repeats: int = 5) -> Speed:
    """Time `decode` (64 tokens after a short prompt) or `prefill` (a prompt of 512 tokens)."""
    once = {"decode": decode, "prefill": prefill}[work]
    rates, probes = _alternate(lambda run: once(llm, run), llm.plan.machine, repeats)
    rate, is_decode = median(rates), work == "decode"
    wall = probes.read_gb_per_s * 1e9 if is_decode else _int8_wall(llm, probes)
    cost = bytes_per_token(llm) if is_decode else operations(llm, PREFILL_TOKENS) / PREFILL_TOKENS
    return Speed(
        work=work,
        tokens=DECODE_TOKENS if is_decode else PREFILL_TOKENS,
        tokens_per_s=round(rate, 2),
        spread=spread(rates),
        repeats=repeats,
        numerics=llm.plan.numerics,
        weights_bytes=llm.plan.weights_bytes,
        read_gb_per_s=probes.read_gb_per_s,
        peak_int8_gops=probes.peak_int8_gops,
        wall_share=None if wall is None else round(rate * cost / wall, 3),
    )


def measure_serving(
    llm: LLM, load: Load, repeats: int = 5, goals: Goals | None = None
) -> ServeSpeed:
    """Time `load`, from the arrival of its first request to the last token of the last.

    The context of `llm` is its cache too: of less than `load.cache_tokens`, requests wait.

    Raises:
        RequestError: A prompt and its completion do not fit the context.
    """
    runs: list[Run] = []

    def once(run: int) -> float:
        runs.append(serve(llm, load, run))
        return runs[-1].tokens_per_s

    rates, probes = _alternate(once, llm.plan.machine, repeats)
    return ServeSpeed(
        work="serve",
        tokens=load.requests * load.completion_tokens,
        tokens_per_s=round(median(rates), 2),
        spread=spread(rates),
        repeats=repeats,
        numerics=llm.plan.numerics,
        weights_bytes=llm.plan.weights_bytes,
        read_gb_per_s=probes.read_gb_per_s,
        peak_int8_gops=probes.peak_int8_gops,
        wall_share=None,
        load=load,
        latencies=latencies(runs[1:], goals or Goals()),  # the first run does not count
    )


# ---- one run


def decode(llm: LLM, run: int = 0) -> float:
    """Tokens per second after the first, over 64; each run has a prompt of its own."""
    [done] = _generate(llm, [_prompt(llm, SHORT_PROMPT, run)], DECODE_TOKENS + 1)
    return DECODE_TOKENS / done.decode_s


def prefill(llm: LLM, run: int = 0) -> float:
    """Tokens per second until the first is sampled, after a prompt of 512."""
    [done] = _generate(llm, [_prompt(llm, PREFILL_TOKENS, run)], 1)
    return PREFILL_TOKENS / done.ttft_s


def serve(llm: LLM, load: Load, run: int = 0) -> Run:
    """Serve a run of a load, each request from the moment at which it arrives."""
    engine, params = llm.engine, _greedy(load.completion_tokens)
    prompts = load.prompts(run, len(llm.tokenizer))
    coming = deque(zip(load.arrivals_s(run), prompts, strict=True))
    taken, started = list[tuple[float, float, Request]](), perf_counter()
    try:
        while coming or engine.has_requests:
            while coming and coming[0][0] <= (now := perf_counter() - started):
                due, prompt = coming.popleft()
                taken.append((due, now, engine.add(prompt, params)))
            if engine.has_requests:
                engine.step()
            elif coming:
                sleep(max(0.0, coming[0][0] - (perf_counter() - started)))
    finally:
        for _, _, request in taken:
            engine.abort(request)
    return Run([_timing(*each) for each in taken])


def _timing(due_s: float, taken_s: float, request: Request) -> Timing:
    """A request may be taken later than it is due: a step was going on."""
    done = request.completion()
    first_s = taken_s + done.ttft_s
    return Timing(due_s, first_s, first_s + done.decode_s, len(done.token_ids))


def _generate(llm: LLM, prompts: Sequence[list[int]], max_tokens: int) -> list[Completion]:
    """Greedy completions of exactly `max_tokens`."""
    return llm.generate(prompts, _greedy(max_tokens))


def _greedy(max_tokens: int) -> SamplingParams:
    return SamplingParams(
        temperature=0, repetition_penalty=1.0, max_tokens=max_tokens, ignore_eos=True
    )


def _prompt(llm: LLM, length: int, other: int) -> list[int]:
    return prompt_ids(length, other, min(100_000, len(llm.tokenizer)))


# ---- walls


def _alternate(
    once: Callable[[int], float], machine: Machine | None, repeats: int
) -> tuple[list[float], Probes]:
    """Rates of the repeats, and what the machine could do between them."""
    once(0)  # the first run maps memory and records steps
    rates, reads, peaks = [], [], []
    for run in range(1, repeats + 1):
        rates.append(once(run))
        reads.append(read_bandwidth())
        peaks.append(None if machine is None else machine.peak_int8_ops())
    known = [peak for peak in peaks if peak is not None]
    return rates, Probes(
        read_gb_per_s=round(median(reads) / 1e9, 2),
        peak_int8_gops=round(median(known) / 1e9, 1) if known else None,
    )


def read_bandwidth() -> float:
    """Bytes per second of reading memory that no cache holds, on all threads; best of two."""
    many = torch.ones(_PROBE_BYTES // 4)
    return _PROBE_BYTES / min(_seconds(many.sum) for _ in range(2))


def bytes_per_token(llm: LLM) -> int:
    """Weights that one token reads: all, but of an embedding apart from the head only a row."""
    if llm.config.tie_word_embeddings:
        return llm.plan.weights_bytes
    return llm.plan.weights_bytes - llm.plan.embedding_bytes


def _int8_wall(llm: LLM, probes: Probes) -> float | None:
    """Operations per second that products could reach, where they are of 8-bit integers."""
    if llm.plan.kind in (None, "bf16") or probes.peak_int8_gops is None:
        return None
    return probes.peak_int8_gops * 1e9


def operations(llm: LLM, tokens: int) -> int:
    """Multiplies and adds of a prompt of so many tokens; logits are made of the last alone."""
    logits = 2 * llm.config.vocab_size * llm.config.hidden_size
    return tokens * (forward_flops(llm.config, (tokens + 1) // 2) - logits) + logits


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started
