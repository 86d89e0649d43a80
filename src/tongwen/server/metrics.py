"""Figures for Prometheus, under the names that vLLM made common."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tongwen.engine.completion import Completion
from tongwen.server.pool import ModelPool

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_BRIEF = (0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)


class Metrics:
    """What a server counts.

    Args:
        pool: The models, whose engines are asked when somebody looks.
    """

    def __init__(self, pool: ModelPool) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Engines(pool))
        by_model = ("model_name",)
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.", by_model)
        self._written = self._counter("generation_tokens", "Tokens written.", by_model)
        self._asked = self._counter("prefix_cache_queries", "Prompt tokens looked up.", by_model)
        self._hits = self._counter("prefix_cache_hits", "Prompt tokens found.", by_model)
        self._ended = self._counter(
            "request_success", "Completions by how they ended.", (*by_model, "finished_reason")
        )
        self._ttft = self._times("time_to_first_token_seconds", "To the first token.", _SECONDS)
        self._between = self._times("inter_token_latency_seconds", "From token to token.", _BRIEF)
        self._whole = self._times("e2e_request_latency_seconds", "To the last token.", _SECONDS)
        self._decode = self._times("request_decode_time_seconds", "Writing.", _SECONDS)
        self._by_key = Counter(
            "tongwen:key_tokens",
            "Tokens by key.",
            ("key", "kind"),
            registry=self.registry,
        )
        self._answers = Counter(
            "tongwen:http_requests",
            "Requests by path and status.",
            ("path", "status"),
            registry=self.registry,
        )

    def count_tokens(self, model: str, count: int) -> None:
        """Note tokens that were written."""
        self._written.labels(model).inc(count)

    def count_completion(self, model: str, key: str, done: Completion, prompt_tokens: int) -> None:
        """Note a completion that has ended."""
        self._prompt.labels(model).inc(prompt_tokens)
        if prompt_tokens:
            self._asked.labels(model).inc(prompt_tokens)
            self._hits.labels(model).inc(done.num_cached_tokens)
        self._ended.labels(model, done.finish_reason).inc()
        self._ttft.labels(model).observe(done.ttft_s)
        self._whole.labels(model).observe(done.ttft_s + done.decode_s)
        self._decode.labels(model).observe(done.decode_s)
        if len(done.token_ids) > 1:
            self._between.labels(model).observe(done.decode_s / (len(done.token_ids) - 1))
        if key:
            self._by_key.labels(key, "prompt").inc(prompt_tokens)
            self._by_key.labels(key, "completion").inc(len(done.token_ids))

    def count_answer(self, path: str, status: int) -> None:
        """Note a request of HTTP."""
        self._answers.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """All figures, in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"vllm:{name}", what, labels, registry=self.registry)

    def _times(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"vllm:{name}", what, ("model_name",), buckets=buckets, registry=self.registry
        )


class _Engines(Collector):
    """What the engines hold at the moment that somebody looks."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """One value for each model in memory."""
        running = GaugeMetricFamily(
            "vllm:num_requests_running", "Requests in a step.", labels=["model_name"]
        )
        waiting = GaugeMetricFamily(
            "vllm:num_requests_waiting", "Requests that wait.", labels=["model_name"]
        )
        usage = GaugeMetricFamily(
            "vllm:kv_cache_usage_perc", "Share of the cache in use.", labels=["model_name"]
        )
        preempted = CounterMetricFamily(
            "vllm:num_preemptions", "Requests that gave their blocks back.", labels=["model_name"]
        )
        for served in self._pool.loaded():
            load = served.engine.load()
            running.add_metric([served.name], load.num_running)
            waiting.add_metric([served.name], load.num_waiting)
            preempted.add_metric([served.name], load.num_preemptions)
            usage.add_metric([served.name], load.cache_share)
        yield from (running, waiting, usage, preempted)
