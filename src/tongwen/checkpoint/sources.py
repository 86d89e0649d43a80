"""Where models come from over the network: the Hugging Face hub, and ModelScope.

A source is asked once for the list of a repository's files, with their sizes and digests, and is
given up when it has not answered in time.  The files are then fetched by `download.py`.
"""

import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable
from urllib.parse import quote

import httpx2

from tongwen.checkpoint.download import Patience, RemoteFile, said_by
from tongwen.errors import ModelNotFoundError, SourceError

Answer = TypeVar("Answer")

UNSTATED = "unstated"

_LICENCES = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "tongyi-qianwen": "Tongyi Qianwen",
    "tongyi-qianwen-research": "Tongyi Qianwen Research",
    "qwen": "Qwen",
    "qwen-research": "Qwen Research",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What one source has under a repository's name."""

    source: str
    """`hub` or `modelscope`."""

    repo: str
    revision: str
    """The commit, so that all files are of one state of the repository."""

    files: tuple[RemoteFile, ...]
    licence: str | None
    """As the repository states it; None where it does not."""

    lineage: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """To send with each download."""


@runtime_checkable
class Source(Protocol):
    """A place on the network that has repositories of models."""

    name: str

    def listing(self, repo: str, patience: Patience) -> Listing:
        """The files of `repo`.

        Raises:
            SourceError: The source is silent, cannot be reached, or refuses.
            ModelNotFoundError: It has no such repository.
        """
        ...


def home_directory(environ: Mapping[str, str]) -> Path:
    """The user's home directory by `environ`, else as the system knows it."""
    return Path(environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~"))


def default_home(environ: Mapping[str, str]) -> Path:
    """Where the store lies: `TONGWEN_HOME`, else `~/.cache/tongwen`."""
    if named := environ.get("TONGWEN_HOME"):
        return Path(named).expanduser()
    return home_directory(environ) / ".cache" / "tongwen"


def hugging_face_home(environ: Mapping[str, str]) -> Path:
    """`HF_HOME`, else where huggingface_hub puts it."""
    if named := environ.get("HF_HOME"):
        return Path(named).expanduser()
    if cache := environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "huggingface"
    return home_directory(environ) / ".cache" / "huggingface"


class Hub:
    """The Hugging Face hub, or what `HF_ENDPOINT` names in its place."""

    name = "hub"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.endpoint = (environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self.token = _hub_token(environ)
        self.is_offline = environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}

    def listing(self, repo: str, patience: Patience) -> Listing:
        """The files of `repo` at the head of its default branch; see `Source`."""
        if self.is_offline:
            raise SourceError("offline, by `HF_HUB_OFFLINE`")
        return answer_within(patience.silence_s, lambda: self._ask(repo, patience))

    def _ask(self, repo: str, patience: Patience) -> Listing:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

        api = HfApi(endpoint=self.endpoint, token=self.token or False)
        try:
            info = api.model_info(repo, files_metadata=True, timeout=patience.silence_s)
        except RepositoryNotFoundError as error:
            raise ModelNotFoundError("no such repository there, or it is private") from error
        except HfHubHTTPError as error:
            raise SourceError(f"HTTP {error.response.status_code}") from error
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise SourceError(said_by(error)) from error
        revision, card = info.sha or "main", info.card_data.to_dict() if info.card_data else {}
        files = [
            RemoteFile(
                path=each.rfilename,
                url=f"{self.endpoint}/{repo}/resolve/{revision}/{quote(each.rfilename)}",
                size_bytes=each.lfs.size if each.lfs else each.size or 0,
                sha256=each.lfs.sha256 if each.lfs else None,
                git_oid=None if each.lfs else each.blob_id,
            )
            for each in info.siblings or ()
        ]
        return Listing(
            source=self.name,
            repo=info.id or repo,
            revision=revision,
            files=tuple(files),
            licence=_hub_licence(card),
            lineage=_hub_lineage(card),
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
        )


class ModelScope:
    """ModelScope, or what `MODELSCOPE_ENDPOINT` or `MODELSCOPE_DOMAIN` names in its place."""

    name = "modelscope"

    def __init__(self, environ: Mapping[str, str]) -> None:
        domain = environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
        domain = domain if "://" in domain else f"https://{domain}"
        self.endpoint = (environ.get("MODELSCOPE_ENDPOINT") or domain).rstrip("/")
        token = environ.get("MODELSCOPE_API_TOKEN")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def listing(self, repo: str, patience: Patience) -> Listing:
        """The files of `repo` on its branch `master`; see `Source`."""
        about, data = answer_within(patience.silence_s, lambda: self._ask(repo, patience))
        entries = [entry for entry in data["Files"] if entry.get("Type") != "tree"]
        return Listing(
            source=self.name,
            repo=repo,
            revision="master",
            files=tuple(self._file(repo, entry) for entry in entries),
            licence=_licence(about.get("License")),
            lineage=tuple(about.get("BaseModel") or ()),
            headers=self.headers,
        )

    def _ask(self, repo: str, patience: Patience) -> tuple[dict[str, Any], dict[str, Any]]:
        timeout = httpx2.Timeout(patience.silence_s, connect=patience.connect_s)
        with httpx2.Client(headers=self.headers, timeout=timeout, follow_redirects=True) as client:
            api = f"{self.endpoint}/api/v1/models/{repo}"
            try:
                files = client.get(f"{api}/repo/files", params={"Recursive": "true"})
                return _data(client.get(api)), _data(files)
            except (httpx2.HTTPError, ValueError) as error:
                raise SourceError(said_by(error)) from error

    def _file(self, repo: str, entry: Mapping[str, Any]) -> RemoteFile:
        path = str(entry["Path"])
        return RemoteFile(
            path=path,
            url=f"{self.endpoint}/models/{repo}/resolve/master/{quote(path)}",
            size_bytes=int(entry["Size"]),
            sha256=str(entry["Sha256"]).lower() if entry.get("Sha256") else None,
        )


def answer_within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """The result of `ask`, or a `SourceError` when it takes longer.

    A thread of its own does the asking: a name server that is silent, or a host with many silent
    addresses, outlasts every timeout of a socket.  A thread given up ends by its own timeouts.

    Raises:
        SourceError: There was no answer in time, or `ask` raised it.
    """
    results: queue.Queue[Answer | BaseException] = queue.Queue()

    def run() -> None:
        try:
            results.put(ask())
        except BaseException as error:
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise SourceError(f"silent for {seconds:g} s") from None
    if isinstance(result, BaseException):
        raise result
    return result


def _data(answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code == 404:
        raise ModelNotFoundError("no such repository there")
    if answer.status_code != 200:
        raise SourceError(f"HTTP {answer.status_code}")
    tree = answer.json()
    data = tree.get("Data") if isinstance(tree, dict) else None
    if not isinstance(data, dict):
        raise SourceError("an answer that is not of ModelScope's form")
    return data


def _hub_token(environ: Mapping[str, str]) -> str | None:
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := environ.get(variable, "").strip():
            return token
    path = Path(environ.get("HF_TOKEN_PATH") or hugging_face_home(environ) / "token")
    return path.read_text().strip() or None if path.is_file() else None


def _hub_licence(card: Mapping[str, Any]) -> str | None:
    stated = card.get("license")
    return _licence(card.get("license_name") or stated if stated == "other" else stated)


def _licence(stated: object) -> str | None:
    if not isinstance(stated, str) or not stated.strip():
        return None
    return _LICENCES.get(stated.strip().lower(), stated.strip())


def _hub_lineage(card: Mapping[str, Any]) -> tuple[str, ...]:
    parents = card.get("base_model")
    if isinstance(parents, str):
        return (parents,)
    return tuple(str(parent) for parent in parents or ())
