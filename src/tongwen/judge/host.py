"""What of this machine a program sees: its toolchains, read-only, and nothing that is a user's."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PYTHON_HOME = Path("/opt/python")
"""Where a program finds the interpreter, wherever it lies on this machine."""

WORKPLACE = "/tmp"
"""The only folder that a program may write to, but for `/dev/shm`: it begins there."""

ENVIRONMENT = {
    "HOME": WORKPLACE,
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TMPDIR": WORKPLACE,
}
"""What a program finds in its environment, beside what is given to it; nothing is inherited."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = (
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mono",
    "php",
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python without packages beside its standard library."""

    argv: tuple[str, ...]
    """How a program calls it."""

    env: dict[str, str]
    """What it needs in its environment."""

    folders: dict[str, str]
    """From where a program sees its folders to where they are."""

    hidden: tuple[str, ...]
    """Folders among them that a program sees empty: installed packages."""


def interpreter() -> Interpreter:
    """This process's own, but for installed packages and a virtual environment.

    Hashes of strings are not random in it, so that a verdict can be had again.
    """
    env = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    program = Path(os.path.realpath(sys.executable))
    prefix, options = Path(os.path.realpath(sys.base_prefix)), ("-S", "-s", "-P")
    if prefix.is_relative_to("/usr"):
        return Interpreter((str(program), *options), env, {}, ())
    folders = {
        str(PYTHON_HOME / name): str(prefix / name)
        for name in ("bin", "lib", "lib64")
        if (prefix / name).is_dir()
    }
    library = Path(os.path.realpath(os.__file__)).parent.relative_to(prefix)
    hidden = PYTHON_HOME / library / "site-packages"
    seen = PYTHON_HOME / program.relative_to(prefix)
    env["LD_LIBRARY_PATH"] = str(PYTHON_HOME / "lib")
    return Interpreter((str(seen), *options), env, folders, (str(hidden),))


@dataclass(frozen=True, slots=True)
class View:
    """The file system that one program sees, but for its own files."""

    links: dict[str, str]
    """Links: name and where it leads."""

    folders: dict[str, str]
    """Folders and files, read-only: from where they are seen to where they are."""

    hidden: tuple[str, ...]
    """Folders in them that are seen empty."""

    @property
    def parents(self) -> list[str]:
        """Folders that must be made for the others to stand in, outermost first."""
        seen = [Path(name) for name in (*self.folders, *self.links)]
        return sorted({str(folder) for path in seen for folder in path.parents} - {"/"})


def view(more: Mapping[str, str]) -> View:
    """The system's programs and libraries, this process's Python, and `more` folders."""
    links = {name: str(Path(name).readlink()) for name in _SYSTEM if Path(name).is_symlink()}
    system = [name for name in _SYSTEM if Path(name).is_dir() and name not in links]
    settings = [Path("/etc", name) for name in _SETTINGS] + sorted(Path("/etc").glob("java*"))
    system += [str(path) for path in settings if path.exists()]
    python = interpreter()
    return View(
        links, dict(zip(system, system, strict=True)) | python.folders | dict(more), python.hidden
    )


@dataclass(frozen=True, slots=True)
class Tool:
    """A compiler or interpreter of this machine."""

    path: str
    """How a program calls it."""

    folders: dict[str, str]
    """From where a program sees its folder to where that is, unless it is one of the system's."""


def tool(name: str) -> Tool | None:
    """A program on the search path; `None` where it is absent or cannot be shown.

    One outside the system's folders is shown with the folder that it was installed in, unless
    that holds somebody's home.
    """
    found = shutil.which(name)
    if found is None:
        return None
    path = Path(os.path.realpath(found))
    if any(path.is_relative_to(folder) for folder in _SYSTEM):
        return Tool(str(path), {})
    package = next((each for each in path.parents if (each / "package.json").is_file()), None)
    prefix = package or path.parent.parent
    if Path.home().is_relative_to(prefix):
        return None
    seen = Path("/opt", name)
    return Tool(str(seen / path.relative_to(prefix)), {str(seen): str(prefix)})
