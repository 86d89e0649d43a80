"""What the engine costs and gains over its kernels, on one model.

    python benchmarks/engine_overhead.py --model qwen2.5-coder:0.5b

* crowd: 32 requests of 128 + 64 tokens; how much of the time is the kernels' own.
* prefix: the first token after a prompt of 2,000 tokens, with its beginning in the cache and not.
* lookup: editing given code, with and without guesses from the text (the same tokens).
* draft (with `--large MODEL`): the model drafts for a larger one, on code and on verse.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import MODEL, Values, alternate, parser, print_line

from tongwen import LLM, SamplingParams
from tongwen.engine.batch import Batch
from tongwen.engine.draft import DraftModel
from tongwen.engine.runner import Output
from tongwen.engine.speculate import Proposer

REQUESTS, PROMPT, COMPLETION, PREFIX = 32, 128, 64, 2_000
CODE = (Path(__file__).parent / "harness.py").read_text()[1_200:4_200]
EDIT = f"Rename `rounds` to `laps`; give the whole code, nothing else:\n```python\n{CODE}```"
TREE = "Write a Python class for a binary search tree with insert, delete and search."
VERSE = "Write a poem about the sea, in German, in the manner of Heine."
FREE = {"repetition_penalty": 1.0, "ignore_eos": True}
GREEDY = SamplingParams(temperature=0, max_tokens=COMPLETION, **FREE)


def token_ids(count: int, salt: int) -> list[int]:
    """A prompt that no other begins like."""
    return [(salt * 7_919 + 37 * place) % 90_000 + 100 for place in range(count)]


class Stopwatch:
    """Seconds spent inside the runner."""

    def __init__(self, llm: LLM) -> None:
        self.spent_s = 0.0
        self._run = llm.engine.runner.run
        llm.engine.runner.run = self  # type: ignore[method-assign, assignment]

    def __call__(self, batch: Batch) -> Output:
        """Run a step."""
        started = time.perf_counter()
        try:
            return self._run(batch)
        finally:
            self.spent_s += time.perf_counter() - started


def crowd(llm: LLM, watch: Stopwatch, salt: list[int]) -> Values:
    """Output tokens per second, and what share of steps and of decode steps the kernels take."""
    salt[0] += 1
    prompts = [token_ids(PROMPT, 100 * salt[0] + place) for place in range(REQUESTS)]
    requests = [llm.engine.add(prompt, GREEDY) for prompt in prompts]
    whole_s = inside_s = decode_s = decode_inside_s = 0.0
    while llm.engine.has_requests:
        is_decode = all(request.token_ids for request in requests)
        before, started = watch.spent_s, time.perf_counter()
        llm.engine.step()
        taken_s, own_s = time.perf_counter() - started, watch.spent_s - before
        whole_s, inside_s = whole_s + taken_s, inside_s + own_s
        if is_decode:
            decode_s, decode_inside_s = decode_s + taken_s, decode_inside_s + own_s
    return {
        "tokens_per_s": REQUESTS * COMPLETION / whole_s,
        "of_kernels": inside_s / whole_s,
        "overhead_of_decode": 1 - decode_inside_s / decode_s,
    }


def prefix(llm: LLM, salt: list[int], *, is_cached: bool) -> Values:
    """Seconds to the first token of a prompt whose first 2,000 tokens were just seen, or not."""
    salt[0] += 1
    beginning = token_ids(PREFIX, salt[0])
    one = SamplingParams(temperature=0, max_tokens=1, **FREE)
    if is_cached:
        llm.generate([beginning + token_ids(8, 1)], one)
    done = llm.generate([beginning + token_ids(8, 2)], one)[0]
    return {"ttft": done.ttft_s}


def speed(
    llm: LLM, question: str, proposers: Sequence[Proposer], seen: dict[str, list[int]]
) -> Values:
    """Decoded tokens per second; the tokens are the same whoever guesses, or the run ends."""
    llm.engine.proposers = proposers
    done = llm.chat(
        [{"role": "user", "content": question}],
        SamplingParams(temperature=0, max_tokens=300, repetition_penalty=1.0),
    )
    if seen.setdefault(question, done.token_ids) != done.token_ids:
        sys.exit("speculation changed the tokens")
    return {"decode": done.decode_tokens_per_s or 0.0}


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--model", default=MODEL)
    made.add_argument("--large", default=None, help="a model that `--model` drafts for")
    asked = made.parse_args()
    llm = LLM(asked.model, context=8192)
    guess, salt = llm.engine.proposers, [0]
    llm.engine.proposers = ()

    def report(what: str, units: dict[str, str], who: dict[str, Callable[[], Values]]) -> None:
        names = list(who)
        print_line(
            f"engine_{what}",
            __doc__ or "",
            alternate(who, asked),
            units=units,
            contenders=names,
            compare=(names[0], names[-1]),
            model=asked.model,
        )

    watch = Stopwatch(llm)
    units = {"tokens_per_s": "tokens/s", "of_kernels": "", "overhead_of_decode": ""}
    report("crowd", units, {"32 requests": lambda: crowd(llm, watch, salt)})
    report(
        "prefix",
        {"ttft": "s"},
        {
            "cached": lambda: prefix(llm, salt, is_cached=True),
            "uncached": lambda: prefix(llm, salt, is_cached=False),
        },
    )
    seen: dict[str, list[int]] = {}
    report(
        "lookup",
        {"decode": "tokens/s"},
        {
            "lookup": lambda: speed(llm, EDIT, guess, seen),
            "none": lambda: speed(llm, EDIT, (), seen),
        },
    )
    if asked.large:
        large = LLM(asked.large, draft=llm, context=8192)
        drafts = [one for one in large.engine.proposers if isinstance(one, DraftModel)]
        for what, question in (("draft_code", TREE), ("draft_verse", VERSE)):
            report(
                what,
                {"decode": "tokens/s"},
                {
                    "draft": lambda q=question: speed(large, q, drafts, seen),  # type: ignore[misc]
                    "none": lambda q=question: speed(large, q, (), seen),  # type: ignore[misc]
                },
            )


if __name__ == "__main__":
    main()
