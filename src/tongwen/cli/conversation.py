"""A conversation in the making, and as a file.

Sampled ids are kept beside the text of an answer, so that the model meets its own words as it wrote
them.  A file is JSON, `{"model", "tokenizer", "messages"}`; read is also a list of messages, or a
message on each line.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongwen.checkpoint.blobs import write_whole
from tongwen.errors import RequestError, TokenizerError
from tongwen.tokenizer.messages import read_messages

Message = dict[str, Any]


@dataclass(slots=True)
class Conversation:
    """Turns, the last of which may be waiting for its answer."""

    turns: list[Message] = field(default_factory=list)
    """Messages of user and assistant, as OpenAI's; an assistant's has its `token_ids` too."""

    system: str | None = None
    """What the model is told before all; None: its family's own text."""

    @property
    def messages(self) -> list[Message]:
        """All of it, the system text first."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, *self.turns]

    def ask(self, text: str) -> None:
        """Add a question."""
        self.turns.append({"role": "user", "content": text})

    def answer(self, text: str, token_ids: list[int]) -> None:
        """Add the answer to the last question."""
        self.turns.append({"role": "assistant", "content": text, "token_ids": token_ids})

    def withdraw(self) -> None:
        """Take the last question back."""
        self.turns.pop()

    def clear(self) -> None:
        """Forget all turns; the system text stays."""
        self.turns.clear()

    def save(self, path: Path, *, model: str, tokenizer: str) -> None:
        """Write it to a file.

        Args:
            path: The file; replaced where it holds a conversation.
            model: Name of the model.
            tokenizer: Digest of the tokenizer that the ids are of.

        Raises:
            RequestError: The file holds something else.
        """
        if path.exists() and not _holds_conversation(path):
            raise RequestError(
                f"`{path}` holds something else than a conversation", hint="choose another name"
            )
        saved = {"model": model, "tokenizer": tokenizer, "messages": self.messages}
        write_whole(path, json.dumps(saved, ensure_ascii=False, indent=1) + "\n")


def load_conversation(path: Path, *, tokenizer: str) -> Conversation:
    """Read a conversation from a file.

    Args:
        path: The file.
        tokenizer: Digest of the tokenizer that will read it: ids of another one are left out, and
            the text is encoded anew.

    Raises:
        RequestError: It holds no conversation.
    """
    try:
        messages, written_by = _read(path)
        read_messages(messages)
    except (TokenizerError, ValueError, UnicodeDecodeError) as error:
        raise RequestError(f"`{path}` holds no conversation: {error}") from error
    if messages[-1]["role"] == "user":
        raise RequestError(f"`{path}` ends with a question; a conversation ends with an answer")
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    turns = messages if system is None else messages[1:]
    if written_by != tokenizer:
        turns = [{k: v for k, v in turn.items() if k != "token_ids"} for turn in turns]
    return Conversation(turns=turns, system=system)


def _read(path: Path) -> tuple[list[Message], str | None]:
    """The messages in a file, and the digest of the tokenizer that it names."""
    text = path.read_text(encoding="utf-8")
    try:
        tree = json.loads(text)
    except ValueError:
        tree = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(tree, Mapping) and "role" in tree:
        tree = [tree]
    messages = tree.get("messages") if isinstance(tree, Mapping) else tree
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise ValueError("no list of messages")
    return messages, tree.get("tokenizer") if isinstance(tree, Mapping) else None


def _holds_conversation(path: Path) -> bool:
    try:
        messages, _ = _read(path)
        read_messages(messages)
    except (TokenizerError, ValueError, OSError):
        return False
    return True
