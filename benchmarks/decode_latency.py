"""How fast is one answer: decode and prefill tokens/s beside transformers on the same weights?

    python benchmarks/decode_latency.py --model qwen2.5-coder:0.5b --weights bf16

Both run in this process, with all of torch's threads, on weights of the same values: ours as
`--weights` holds them, transformers' in bfloat16, loaded from the directory that we save of them.
Both are greedy without penalty and go on past the end of the turn.  Decode is the tokens after the
first, per second between the first and the last; prefill is the prompt's tokens by the time from
the call to the first token.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from harness import MODEL, ROOT, Values, alternate, parser, print_line
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.generation import BaseStreamer

from tongwen import LLM, SamplingParams
from tongwen.checkpoint.load import Source, open_checkpoint
from tongwen.checkpoint.save import save_checkpoint
from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.llm import locate

QUESTION = "Decode and prefill tokens/s of one request, beside transformers in bfloat16"
PROMPT = "Explain how a bicycle stays upright."
DECODE_TOKENS, PREFILL_TOKENS = 64, 512
OURS, THEIRS = "tongwen", "transformers"


class Stopwatch(BaseStreamer):
    """Notes when each token comes; the first call brings the prompt."""

    def __init__(self) -> None:
        self.times_s: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        """Note the time; tokens of the prompt come first."""
        self.times_s.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing: the last token has come."""


def ours(llm: LLM, short: list[int], long: list[int]) -> Values:
    """Both figures through `LLM.generate`."""
    wanted = SamplingParams(
        temperature=0, repetition_penalty=1.0, max_tokens=DECODE_TOKENS, ignore_eos=True
    )
    [done] = llm.generate([short], wanted)
    one = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=1)
    started = time.perf_counter()
    llm.generate([long], one)
    prefill_s = time.perf_counter() - started
    assert done.decode_tokens_per_s is not None
    assert len(done.token_ids) == DECODE_TOKENS
    return {
        "decode": done.decode_tokens_per_s,
        "prefill": PREFILL_TOKENS / prefill_s,
    }


def theirs(model: PreTrainedModel, short: list[int], long: list[int]) -> Values:
    """Both figures through `generate`."""
    decode, _ = generate(model, short, DECODE_TOKENS)
    prefill, started = generate(model, long, 1)
    tokens_s = decode[-1] - decode[1]  # entry 0 is the prompt
    return {
        "decode": (DECODE_TOKENS - 1) / tokens_s,
        "prefill": PREFILL_TOKENS / (prefill[1] - started),
    }


def generate(
    model: PreTrainedModel, prompt: list[int], max_tokens: int
) -> tuple[list[float], float]:
    """When each token came, the prompt's call first, and when `generate` was called."""
    stopwatch, token_ids = Stopwatch(), torch.tensor([prompt])
    started = time.perf_counter()
    model.generate(
        token_ids,
        attention_mask=torch.ones_like(token_ids),
        min_new_tokens=max_tokens,
        max_new_tokens=max_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        streamer=stopwatch,
    )
    assert len(stopwatch.times_s) == max_tokens + 1
    return stopwatch.times_s, started


def load_theirs(source: Source) -> PreTrainedModel:
    """The same values in transformers, rounded to bfloat16."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        save_checkpoint(
            directory,
            config=source.config,
            tensors=((name, source.tensor(name, torch.bfloat16)) for name in source.names()),
            generation=source.generation,
        )
        return AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()


def prompts(llm: LLM) -> tuple[list[int], list[int]]:
    """A short question, and 512 tokens of this repository's readme and source."""
    text = (ROOT / "README.md").read_text(encoding="utf-8") + Path(__file__).read_text("utf-8")
    long = llm.tokenizer.encode(text)[:PREFILL_TOKENS]
    assert len(long) == PREFILL_TOKENS
    return llm.render([{"role": "user", "content": PROMPT}]), long


def options() -> argparse.Namespace:
    """The command line."""
    made = parser(QUESTION)
    made.add_argument("--model", default=MODEL)
    made.add_argument("--weights", default="bf16", help="how ours holds them")
    return made.parse_args()


def main() -> None:
    """Measure and print."""
    asked = options()
    llm = LLM(asked.model, weights=asked.weights, context=1024, speculate=False)
    short, long = prompts(llm)
    path = locate(asked.model, Store(default_home(os.environ)))
    model = load_theirs(open_checkpoint(path))
    rounds = alternate(
        {OURS: lambda: ours(llm, short, long), THEIRS: lambda: theirs(model, short, long)}, asked
    )
    print_line(
        "decode_latency",
        QUESTION,
        rounds,
        units={"decode": "tokens/s", "prefill": "tokens/s"},
        contenders=[OURS, THEIRS],
        compare=(OURS, THEIRS),
        model=asked.model,
        weights=asked.weights,
        numerics=llm.plan.numerics,
        prompt_tokens=len(short),
        decode_tokens=DECODE_TOKENS,
        prefill_tokens=PREFILL_TOKENS,
    )


if __name__ == "__main__":
    main()
