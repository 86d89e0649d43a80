"""Continue several prompts at once; run it as `python examples/generate.py [MODEL]`.

They share every step of the model: the sequences lie end to end, no padding.  A completion does not
depend on what it shares a step with.
"""

import sys

from tongwen import LLM, SamplingParams

PROMPTS = [
    "def fibonacci(n):\n",
    "# Sort the lines of a file\n",
    "SELECT name FROM users WHERE",
]


def main(model: str = "qwen2.5-coder:0.5b") -> None:
    """Load the model, continue the prompts, print what came."""
    llm = LLM(model)
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=24)
    for prompt, completion in zip(PROMPTS, llm.generate(PROMPTS, params), strict=True):
        print(f"--- {len(completion.token_ids)} tokens, ended by {completion.finish_reason}")
        print(prompt + completion.text)


if __name__ == "__main__":
    main(*sys.argv[1:])
