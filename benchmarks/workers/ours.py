"""Tongwen as a contender: `python ours.py MODEL WEIGHTS CONTEXT`."""

import itertools
import sys

from talk import CROWD, CROWD_OUTPUT, CROWD_PROMPT, answer, quiet_stdout

from tongwen import LLM
from tongwen.engine.bench import bytes_per_token, decode, operations, prefill, serve
from tongwen.engine.traffic import Load


def main() -> None:
    """Load, then measure what is asked for."""
    out = quiet_stdout()
    model, weights, context = sys.argv[1:]
    llm = LLM(model, weights=weights, context=int(context), speculate=False)
    load = Load(requests=CROWD, prompt_tokens=CROWD_PROMPT, completion_tokens=CROWD_OUTPUT)
    about = {
        "numerics": llm.plan.numerics,
        "bytes_per_token": bytes_per_token(llm),
        "prompt_operations": operations(llm, 512),
        "crowd_prompt_operations": operations(llm, CROWD_PROMPT),
        "token_operations": operations(llm, 1),
    }
    runs = itertools.count()  # each run has prompts of its own: no cache of prefixes helps
    machine = llm.plan.machine
    works = {
        "peak": lambda: (machine.peak_int8_ops() or 0.0) if machine else 0.0,
        "about": lambda: about,
        "decode": lambda: decode(llm, next(runs)),
        "prefill": lambda: prefill(llm, next(runs)),
        "crowd": lambda: serve(llm, load, next(runs)).tokens_per_s,
    }
    answer(works, out)


if __name__ == "__main__":
    main()
