"""What a derived model may be made from: a model of the store, or a file of a named directory."""

from collections.abc import Sequence
from pathlib import Path

from tongwen.checkpoint.model_names import parse_stored
from tongwen.errors import ModelNotFoundError


def looks_like_path(text: str) -> bool:
    """Whether a `FROM` means a file or directory, and no name."""
    return (
        text.startswith((".", "~", "/")) or "\\" in text or text.lower().endswith((".gguf", "/"))
    ) or text[1:2] == ":"


def allowed_path(text: str, allow_dirs: Sequence[Path]) -> Path | None:
    """The file or directory, where it lies below an allowed directory; else None.

    No part of the path below that directory may be `..` or a link, so that nothing outside it is
    reached; whether anything else exists is not looked at.

    Args:
        text: An absolute path.
        allow_dirs: The directories.
    """
    path = Path(text)
    if "\0" in text or ".." in path.parts or not path.is_absolute():
        return None
    for directory in allow_dirs:
        root = directory.expanduser().absolute()
        if path != root and path.is_relative_to(root):
            below = path.relative_to(root).parts
            steps = [root.joinpath(*below[: count + 1]) for count in range(len(below))]
            return path if path.exists() and not any(map(Path.is_symlink, steps)) else None
    return None


def may_be_base(base: str, allow_dirs: Sequence[Path]) -> bool:
    """Whether a recorded base may still be used: a name, or a path that is allowed now."""
    if looks_like_path(base):
        return allowed_path(base, allow_dirs) is not None
    try:
        parse_stored(base)
    except ModelNotFoundError:
        return False
    return True
