"""Talk with a model, one line at a time; run it as `python examples/chat.py [MODEL]`.

A conversation is a list of messages; the model itself remembers nothing.  The answer is printed
piece by piece as its text becomes certain.
"""

import sys

from tongwen import LLM, SamplingParams


def answer(llm: LLM, messages: list[dict[str, str]]) -> str:
    """Print the next turn while it is written, and return it."""
    text = ""
    for delta in llm.stream(llm.render(messages), SamplingParams(max_tokens=256)):
        print(delta.text, end="", flush=True)
        text += delta.text
    print()
    return text


def main(model: str = "qwen2.5-coder:0.5b") -> None:
    """Read questions until the input ends."""
    llm = LLM(model)
    messages: list[dict[str, str]] = []
    for line in sys.stdin:
        messages.append({"role": "user", "content": line.strip()})
        messages.append({"role": "assistant", "content": answer(llm, messages)})


if __name__ == "__main__":
    main(*sys.argv[1:])
