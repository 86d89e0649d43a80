"""The optional libraries that judging leans on, imported where they are used."""

from importlib import import_module
from types import ModuleType

from tongwen.errors import DependencyError


def library(name: str) -> ModuleType:
    """The module `name`, one of the extra `eval`.

    Raises:
        DependencyError: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"`{name}` is needed to judge this and is not installed",
            hint="pip install 'tongwen[eval]'",
        ) from error
