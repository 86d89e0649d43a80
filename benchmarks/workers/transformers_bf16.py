"""transformers as a contender, in bfloat16: `python transformers_bf16.py DIRECTORY`."""

import sys
import time

import torch
from talk import DECODE, PREFILL, SHORT, answer, quiet_stdout, token_ids
from transformers import AutoModelForCausalLM, PreTrainedModel


def seconds(model: PreTrainedModel, prompt: list[int], tokens: int) -> float:
    """Time of a greedy completion of so many tokens."""
    ids = torch.tensor([prompt])
    started = time.perf_counter()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        pad_token_id=0,
    )
    return time.perf_counter() - started


def decode(model: PreTrainedModel) -> float:
    """Tokens per second after the first."""
    first_s = seconds(model, token_ids(SHORT), 1)
    return DECODE / (seconds(model, token_ids(SHORT), DECODE + 1) - first_s)


def main() -> None:
    """Load, then measure what is asked for."""
    out = quiet_stdout()
    model = AutoModelForCausalLM.from_pretrained(
        sys.argv[1], dtype=torch.bfloat16, attn_implementation="sdpa"
    ).eval()
    works = {
        "decode": lambda: decode(model),
        "prefill": lambda: PREFILL / seconds(model, token_ids(PREFILL), 1),
    }
    answer(works, out)


if __name__ == "__main__":
    main()
