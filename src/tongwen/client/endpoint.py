"""What an endpoint says of a model of its own; no torch."""

from dataclasses import dataclass

from tongwen.client.http import HttpClient
from tongwen.errors import ModelNotFoundError

_SPEAK_IDS = ("tongwen", "vllm")


@dataclass(frozen=True, slots=True)
class Described:
    """A model behind an endpoint."""

    name: str
    owner: str | None
    """The program that serves it, or whoever made it; `None`: not told."""

    vocab_size: int | None
    """Token ids that it knows; `None`: not told, or not in memory yet."""

    numerics: str | None
    """What decides the bits of its answers; `None`: not told."""

    is_chat: bool | None = None
    """Whether it was trained to take turns; `None`: not told."""

    @property
    def is_tongwen(self) -> bool:
        """Whether it is Tongwen's own server."""
        return self.owner == "tongwen"

    @property
    def speaks_ids(self) -> bool:
        """Whether token ids may be sent and asked for, and a completion be held to its length."""
        return self.owner in _SPEAK_IDS

    @property
    def takes_ids(self) -> bool:
        """Whether it is known which ids a prompt may consist of."""
        return self.speaks_ids and self.vocab_size is not None


async def describe(client: HttpClient, name: str | None) -> Described:
    """What the endpoint says of a model; without a name, of the only one it has.

    Raises:
        ModelNotFoundError: It has no model of that name, or several and none was named.
        TongwenError: It does not answer.
    """
    models = {str(model.get("id")): model for model in await client.models()}
    if name is None and len(models) == 1:
        name = next(iter(models))
    if name is None or name not in models:
        said = "no model is named" if name is None else f"`{client.endpoint}` has no `{name}`"
        raise ModelNotFoundError(said, hint=f"it has {', '.join(sorted(models)) or 'none'}")
    found = models[name]
    size = found.get("vocab_size")
    owner, numerics = (
        told if isinstance(told, str) else None
        for told in (found.get("owned_by"), found.get("numerics"))
    )
    is_chat = found.get("is_chat")
    return Described(
        name,
        owner,
        vocab_size=size if isinstance(size, int) else None,
        numerics=numerics,
        is_chat=is_chat if isinstance(is_chat, bool) else None,
    )
