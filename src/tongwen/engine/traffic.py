"""Loads for servers, and what is made of the times that their requests took; no torch."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from tongwen.errors import ConfigError

BLOCK = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Requests, each with a prompt of its own."""

    requests: int = 32
    prompt_tokens: int = 128
    completion_tokens: int = 64
    """Tokens that each completion gets, whatever it says."""

    rate: float | None = None
    """Requests a second, on average: they arrive independently of each other (a Poisson process);
    `None`: all at the same moment."""

    seed: int = 0
    """Of the arrivals."""

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < 1e9:
            raise ConfigError(f"`rate` must be above 0, not {self.rate}")

    @property
    def cache_tokens(self) -> int:
        """Tokens of cache that hold all of them at once; blocks of 32 are not shared."""
        each = -(-(self.prompt_tokens + self.completion_tokens) // BLOCK) * BLOCK
        return self.requests * each

    def arrivals_s(self, run: int) -> list[float]:
        """When each request of a run arrives, in seconds after the first."""
        if self.rate is None:
            return [0.0] * self.requests
        draw, now, found = random.Random(f"{self.seed}:{run}"), 0.0, list[float]()
        for _ in range(self.requests):
            found.append(now)
            now += draw.expovariate(self.rate)
        return found

    def prompts(self, run: int, vocab_size: int) -> list[list[int]]:
        """A run's prompts: ordinary ids spread over the vocabulary, no two alike."""
        size, first = min(100_000, vocab_size), run * self.requests
        return [
            prompt_ids(self.prompt_tokens, other, size)
            for other in range(first, first + self.requests)
        ]


def prompt_ids(length: int, other: int, size: int) -> list[int]:
    """A prompt of ids below `size`; another for each `other`."""
    return [(i * 7919 + other * 104_729 + 11) % size for i in range(length)]


@dataclass(frozen=True, slots=True)
class Timing:
    """When what happened to one request, in seconds after the first request's arrival."""

    due_s: float
    """When it arrived: when the load says so, not when there was time to send it."""

    first_s: float
    """When its first token was there."""

    last_s: float
    tokens: int
    """Tokens of its completion."""

    @property
    def ttft_s(self) -> float:
        """Time to the first token."""
        return self.first_s - self.due_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first; `None` where there is none."""
        return (self.last_s - self.first_s) / (self.tokens - 1) if self.tokens > 1 else None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a load."""

    timings: Sequence[Timing]
    """Of the requests that were answered."""

    failures: Sequence[str] = ()
    """Why each of the others was not."""

    @property
    def elapsed_s(self) -> float:
        """From the first arrival to the last token."""
        return max(timing.last_s for timing in self.timings)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second."""
        return sum(timing.tokens for timing in self.timings) / self.elapsed_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Goals:
    """How soon a request must be answered; `None`: any time is good."""

    slo_ttft_ms: float | None = None
    slo_tpot_ms: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return self.slo_ttft_ms is not None or self.slo_tpot_ms is not None

    def are_met(self, timing: Timing) -> bool:
        """Whether a request was answered so soon."""
        pairs = ((timing.ttft_s, self.slo_ttft_ms), (timing.tpot_s or 0.0, self.slo_tpot_ms))
        return all(goal is None or took * 1e3 <= goal for took, goal in pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """What the requests of all runs had to wait; of single requests, not of means."""

    ttft_p50_ms: float
    """Median time from arrival to the first token."""

    ttft_p99_ms: float
    tpot_p50_ms: float | None
    """Median time per output token after the first; `None` where completions have one token."""

    tpot_p99_ms: float | None
    slo_ttft_ms: float | None
    slo_tpot_ms: float | None
    goodput_share: float | None
    """Share of all requests, failed ones too, that met both goals; `None`: no goal was set."""

    goodput_per_s: float | None
    """Requests a second that did; median of the runs."""

    failed: int
    """Requests that were not answered."""


def latencies(runs: Sequence[Run], goals: Goals) -> Latencies:
    """The figures of runs, each with an answered request at least."""
    timings = [timing for run in runs for timing in run.timings]
    failed = sum(len(run.failures) for run in runs)
    good = [sum(map(goals.are_met, run.timings)) for run in runs]
    first = [timing.ttft_s for timing in timings]
    later = [timing.tpot_s for timing in timings if timing.tpot_s is not None]
    rates = [met / run.elapsed_s for met, run in zip(good, runs, strict=True)]
    return Latencies(
        ttft_p50_ms=round(median(first) * 1e3, 1),
        ttft_p99_ms=round(percentile(first, 99) * 1e3, 1),
        tpot_p50_ms=round(median(later) * 1e3, 2) if later else None,
        tpot_p99_ms=round(percentile(later, 99) * 1e3, 2) if later else None,
        slo_ttft_ms=goals.slo_ttft_ms,
        slo_tpot_ms=goals.slo_tpot_ms,
        goodput_share=round(sum(good) / (len(timings) + failed), 4) if goals.is_set else None,
        goodput_per_s=round(median(rates), 3) if goals.is_set else None,
        failed=failed,
    )


def spread(rates: Sequence[float]) -> float:
    """Difference of the highest and the lowest, as a share of the median."""
    return round((max(rates) - min(rates)) / median(rates), 3)


def percentile(values: Sequence[float], percent: int) -> float:
    """Between the two values nearest to it; of one value that one."""
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
