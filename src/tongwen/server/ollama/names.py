"""Names of models as Ollama's clients write them."""

from typing import Annotated

from pydantic import BeforeValidator, model_validator

from tongwen.errors import ModelNotFoundError
from tongwen.server.config import ModelEntry
from tongwen.server.errors import ApiError, invalid
from tongwen.server.ollama.errors import not_found
from tongwen.server.pool import Listed
from tongwen.server.service import Service
from tongwen.server.wire import Wire

_LATEST = ":latest"


def _nothing(given: object) -> None:
    """Refuse anything but emptiness."""
    if given:
        raise ValueError("is not supported, and may be sent only empty")


Empty = Annotated[None, BeforeValidator(_nothing)]
"""What Ollama's own program sends although it says nothing."""


class NamedWire(Wire):
    """A request about one model, called `model`, or `name` by older clients."""

    model: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _has_name(self) -> "NamedWire":
        if not (self.model or self.name):
            raise ApiError(400, "`model` is missing", "missing_parameter", "model")
        return self

    @property
    def called(self) -> str:
        """The name."""
        return self.model or self.name or ""


def tagged(name: str) -> str:
    """A name as Ollama lists it, with a tag."""
    return name if ":" in name.rpartition("/")[2] else name + _LATEST


def untagged(name: str) -> str:
    """A name as we keep it, without the tag that says nothing."""
    return name.strip().removesuffix(_LATEST)


def entry_of(service: Service, name: str) -> ModelEntry:
    """The entry of a name.

    Raises:
        ApiError: There is none (404).
    """
    return look_up(service, name).entry


def look_up(service: Service, name: str) -> Listed:
    """What a name means.

    Raises:
        ApiError: Nothing (404).
    """
    try:
        return service.pool.look_up(name)
    except ModelNotFoundError as error:
        raise not_found(name) from error


def check_open(service: Service) -> None:
    """Refuse to change what is served, where that was named when the server was started.

    Raises:
        ApiError: It was (403).
    """
    if service.config.models:
        raise ApiError(
            403,
            "this server serves the models that it was started with; `tongwen serve` without "
            "names serves all of the store",
            "forbidden",
        )


def check_text(param: str, value: str | None) -> None:
    """Refuse what we know and do not serve, unless it is empty.

    Raises:
        ApiError: It is not.
    """
    if value:
        raise invalid(param, f"`{param}` is not supported: templates are the model's own")
