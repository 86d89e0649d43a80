"""OpenVINO GenAI as a contender: `python openvino_gguf.py FILE.gguf`."""

import itertools
import sys

import numpy as np
import openvino as ov
import openvino_genai as genai
from talk import DECODE, PREFILL, SHORT, answer, quiet_stdout, token_ids


def metrics(pipeline: genai.LLMPipeline, prompt: list[int], tokens: int) -> genai.PerfMetrics:
    """What a greedy completion of so many tokens took."""
    config = genai.GenerationConfig()
    config.max_new_tokens = tokens
    config.ignore_eos = True
    config.do_sample = False
    ids = ov.Tensor(np.array([prompt], dtype=np.int64))
    return pipeline.generate(ids, config).perf_metrics


def main() -> None:
    """Load, then measure what is asked for."""
    out = quiet_stdout()
    pipeline = genai.LLMPipeline(sys.argv[1], "CPU")
    runs = itertools.count()  # each run has prompts of its own: prefixes are cached here too

    def prompt(count: int) -> list[int]:
        salt = next(runs)
        return [token_id + salt for token_id in token_ids(count)]

    works = {
        "decode": lambda: 1e3 / metrics(pipeline, prompt(SHORT), DECODE + 1).get_tpot().mean,
        "prefill": lambda: 1e3 * PREFILL / metrics(pipeline, prompt(PREFILL), 1).get_ttft().mean,
    }
    answer(works, out)


if __name__ == "__main__":
    main()
