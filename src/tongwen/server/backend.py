"""What a server needs of a model and of the engine that runs it; it knows no more of them.

The command line hands them in: a server is text and sockets, and loads no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from tongwen.engine.admission import Admission
from tongwen.engine.completion import Delta
from tongwen.engine.load import Load
from tongwen.engine.params import SamplingParams
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.chat import ChatFormat


@runtime_checkable
class Answers(Protocol):
    """The completions of a prompt, as they are written; leaving the `with` ends them."""

    async def __aenter__(self) -> "Answers": ...

    async def __aexit__(self, *_: object) -> None: ...

    async def news(self) -> list[Delta]:
        """The pieces since the last call; none at all: everything is told."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Completes prompts, many at once."""

    async def open(
        self, prompt_ids: Sequence[int], params: SamplingParams, admission: Admission | None = None
    ) -> Answers:
        """Have a prompt admitted."""
        ...

    def load(self) -> Load:
        """How much it does and holds at this moment."""
        ...

    def close(self) -> None:
        """End every request."""
        ...


@runtime_checkable
class Model(Protocol):
    """A model in memory."""

    name: str
    context: int
    """Most tokens of a prompt and its completion."""

    tokenizer: Tokenizer

    @property
    def chat_format(self) -> ChatFormat:
        """How conversations are written for it."""
        ...

    @property
    def numerics(self) -> str:
        """What decides the bits of an answer besides model and prompt."""
        ...

    @property
    def weights_bytes(self) -> int:
        """Memory that its weights take."""
        ...

    @property
    def is_on_cpu(self) -> bool:
        """Whether it runs there, and not on an accelerator."""
        ...

    @property
    def is_chat(self) -> bool:
        """Whether it was trained to take turns."""
        ...

    def calling(
        self,
        params: SamplingParams,
        tools: Sequence[Mapping[str, Any]],
        choice: str,
        parallel: bool,
    ) -> SamplingParams:
        """Parameters that hold calls of `tools` to their schemas."""
        ...
