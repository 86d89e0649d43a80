"""One answer: written piece by piece, stopped by Ctrl-C, and what it took."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tongwen.cli.render import Sink
from tongwen.engine.completion import Completion, Delta
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams


@dataclass(kw_only=True, slots=True)
class Answer:
    """What was written, whole or up to where it was stopped."""

    num_prompt_tokens: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    completion: Completion | None = None
    """None: it was stopped."""

    ttft_s: float = 0.0
    """From the question to the first token."""

    decode_s: float = 0.0
    """From the first token to the last."""

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Tokens after the first, per second."""
        return (len(self.token_ids) - 1) / self.decode_s if self.decode_s > 0 else None

    def add(self, delta: Delta, elapsed_s: float) -> None:
        """Take the next piece, `elapsed_s` after the question."""
        if not self.token_ids:
            self.ttft_s = elapsed_s
        self.decode_s = elapsed_s - self.ttft_s
        if delta.token_id is not None:
            self.token_ids.append(delta.token_id)
        self.text += delta.text
        self.completion = delta.completion
        if delta.completion is not None:
            self.ttft_s, self.decode_s = delta.completion.ttft_s, delta.completion.decode_s

    def figures(self) -> str:
        """What the answer took, in a line."""
        speed = self.decode_tokens_per_s
        return (
            f"{self.num_prompt_tokens} prompt tokens, first token after {self.ttft_s:.2f} s; "
            f"{len(self.token_ids)} tokens written"
            + (f", {speed:.1f} tokens/s" if speed is not None else "")
        )

    def to_json(self, load_s: float) -> dict[str, Any]:
        """What `--json` prints."""
        assert self.completion is not None, "an answer that was stopped is not printed"
        return {
            "text": self.completion.text,
            "token_ids": self.token_ids,
            "finish_reason": self.completion.finish_reason,
            "usage": {
                "prompt_tokens": self.num_prompt_tokens,
                "completion_tokens": len(self.token_ids),
            },
            "timings": {
                "load_s": load_s,
                "ttft_s": self.ttft_s,
                "decode_tokens_per_s": self.decode_tokens_per_s,
            },
        }


class Stoppable:
    """Makes Ctrl-C end the answer, not the program, while it is entered.

    Between two tokens the answer ends in good order; before the first one, or when Ctrl-C is
    pressed again, `KeyboardInterrupt` is raised wherever the program is.
    """

    def __init__(self) -> None:
        self.is_writing, self.is_asked = False, False

    def __enter__(self) -> "Stoppable":
        self._before = signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def has_stopped(self) -> bool:
        """Whether to end the answer; asked after each token."""
        self.is_writing = True
        return self.is_asked

    def _stop(self, _: int, frame: FrameType | None) -> None:
        if self.is_asked or not self.is_writing:
            raise KeyboardInterrupt
        self.is_asked = True


def write_answer(
    llm: LLM,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    sink: Sink | None,
    stoppable: Stoppable | None = None,
) -> Answer:
    """Have the model continue a prompt, each piece going to `sink` at once.

    Raises:
        RequestError: The prompt is empty or does not fit.
        KeyboardInterrupt: Ctrl-C, where it is not for `stoppable` to handle.
    """
    answer, asked_s = Answer(num_prompt_tokens=len(prompt_ids)), time.perf_counter()
    try:
        for delta in llm.stream(prompt_ids, params):
            answer.add(delta, time.perf_counter() - asked_s)
            if sink is not None:
                sink.push(delta.text)
            if stoppable is not None and stoppable.has_stopped():
                break
    finally:
        if sink is not None:
            sink.finish()
    return answer
