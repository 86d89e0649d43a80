"""Who is measured: a model in this process, or one behind an endpoint, and what identifies it."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from tongwen.client.endpoint import Described
from tongwen.engine.llm import LLM
from tongwen.errors import TokenizerError

STORED = "stored completions"
"""Where nobody was asked: the completions were in a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model, as a receipt names it."""

    name: str
    where: str
    """`here`, or the address of the endpoint."""

    weights: str | None
    """SHA-256 of the files that hold the weights; `None`: the endpoint does not tell."""

    tokenizer: str | None
    """Digest of the vocabulary and its rules."""

    template: str | None
    """Digest of the form of conversations."""

    numerics: str | None
    """What decides the bits of its answers besides model and prompt."""

    is_chat: bool
    """Whether it was asked as a model that takes turns."""

    continues_answers: bool = True
    """Whether a conversation that ends with the assistant is gone on with, not answered."""

    adapter: str | None = None
    """Digest of a LoRA adapter."""

    def to_json(self) -> dict[str, Any]:
        """As a receipt holds it."""
        return asdict(self)


def subject_here(llm: LLM, *, is_chat: bool | None = None) -> Subject:
    """A model of this process; its files are read once for their digest."""
    try:
        template: str | None = llm.chat_format.digest
    except TokenizerError:
        template = None
    return Subject(
        name=llm.name,
        where="here",
        weights=_digest_of_files(llm),
        tokenizer=llm.tokenizer.digest,
        template=template,
        numerics=llm.numerics,
        is_chat=llm.is_chat if is_chat is None else is_chat,
    )


def subject_there(model: Described, endpoint: str, *, is_chat: bool) -> Subject:
    """A model behind an endpoint."""
    return Subject(
        name=model.name,
        where=endpoint,
        weights=None,
        tokenizer=None,
        template=None,
        numerics=model.numerics,
        is_chat=is_chat,
        continues_answers=model.speaks_ids,
    )


def _digest_of_files(llm: LLM) -> str:
    digests = []
    for path in sorted(llm.source.files()):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
