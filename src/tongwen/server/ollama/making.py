"""What a new model is made from, and the record that is made of it."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongwen.checkpoint.blobs import Blobs
from tongwen.checkpoint.derived import CREATED, Derived
from tongwen.checkpoint.manifest import Manifest, StoredFile, is_file_name, now
from tongwen.checkpoint.model_names import model_folder, parse_stored
from tongwen.checkpoint.sources import UNSTATED
from tongwen.errors import CheckpointError, ModelNotFoundError
from tongwen.server.bases import allowed_path, looks_like_path
from tongwen.server.config import DerivedEntry, ModelEntry
from tongwen.server.errors import ApiError, invalid
from tongwen.server.ollama.blobs import digest_of, upload_folder
from tongwen.server.ollama.modelfile import Recipe
from tongwen.server.ollama.names import check_open, untagged
from tongwen.server.ollama.pull import fetched, stored_name
from tongwen.server.service import Service

Step = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What a model is made from, and what it hands on."""

    base: str
    """A name of the store, or a path."""

    licence: str
    lineage: tuple[str, ...] = ()
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of_entry(cls, service: Service, entry: ModelEntry) -> "Base":
        """A model that is served.

        Raises:
            TongwenError: Its files are not here, or damaged.
        """
        if isinstance(entry, DerivedEntry):
            made = entry.derived
            return cls(
                base=made.base,
                licence=made.licence,
                lineage=(made.name, *made.lineage),
                system=made.system,
                parameters=made.parameters,
                messages=made.messages,
            )
        facts = service.facts.of(entry)
        stated = facts.local.licence
        return cls(
            base=entry.model,
            licence=stated if stated != UNSTATED else facts.licence or UNSTATED,
            lineage=(entry.names[0], *facts.local.lineage),
        )


def add_to(base: Base, name: str, recipe: Recipe) -> Derived:
    """The record of a model with what a recipe adds to its base."""
    return Derived(
        name=name,
        base=base.base,
        licence="\n\n".join([base.licence, *recipe.licences]),
        made_at=now(),
        lineage=base.lineage,
        system=base.system if recipe.system is None else recipe.system,
        parameters={**base.parameters, **recipe.parameters},
        messages=tuple(recipe.messages) or base.messages,
    )


def new_name(service: Service, text: str) -> str:
    """A name that may be given to a new model.

    Raises:
        ApiError: It is no name (400), means a published model (400), or has files (409).
    """
    name = untagged(text)
    try:
        model_folder(name)
    except ModelNotFoundError as error:
        raise invalid("model", error.message) from error
    if _is_published(name) or name.startswith(f"{CREATED}/"):
        raise invalid("model", f"`{name}` is the name of a published model, and stays its own")
    entries = service.pool.entries()
    if any(name in each.names for each in entries if not isinstance(each, DerivedEntry)):
        raise ApiError(409, f"there is a model `{name}`; delete it first", "conflict")
    return name


def _is_published(name: str) -> bool:
    try:
        return parse_stored(name).kind == "table"
    except ModelNotFoundError:
        return False


async def base_of(service: Service, recipe: Recipe) -> AsyncGenerator[Step | Base, None]:
    """What a recipe begins with, after the steps that bring it here.

    Raises:
        ApiError: It is not here, or must not be reached.
        TongwenError: It cannot be fetched.
    """
    files, text = dict(recipe.files), recipe.base or ""
    if text.startswith("@"):
        files = {"model.gguf": text.removeprefix("@")}
    if files:
        check_open(service)
        yield {"status": "creating new layers"}
        yield await asyncio.to_thread(_from_files, service, files)
        return
    known = {name: entry for entry in service.pool.entries() for name in entry.names}
    if entry := known.get(text) or known.get(untagged(text)):
        yield {"status": "using existing layers"}
        yield await asyncio.to_thread(Base.of_entry, service, entry)
        return
    check_open(service)
    if looks_like_path(text):
        yield await asyncio.to_thread(_from_path, service, text)
        return
    name = stored_name(text)
    async for step in fetched(service.store, name):
        yield step
    yield await asyncio.to_thread(Base.of_entry, service, ModelEntry(model=name.text))


def _from_path(service: Service, text: str) -> Base:
    path = allowed_path(text, service.config.allow_dirs)
    if path is None:
        raise ApiError(
            403,
            "FROM names a model, or a file below a directory that `--allow-dir` allows, by its "
            "whole path without `..` and links",
            "forbidden",
            "from",
        )
    licence = _check(service, path)
    return Base(base=str(path), licence=licence, lineage=(path.name,))


def _from_files(service: Service, files: Mapping[str, str]) -> Base:
    """Give uploaded files a name in the store."""
    blobs, stored = Blobs(service.store.home), []
    for name, digest in files.items():
        sha256 = digest_of(digest)
        if not is_file_name(name):
            raise invalid("files", f"`{name[:80]!a}` is not the name of a file")
        path = blobs.path(sha256)
        if not path.is_file():
            raise invalid("files", f"there is no blob `sha256:{sha256}`; upload it first")
        stored.append(StoredFile(name=name, size_bytes=path.stat().st_size, sha256=sha256))
    manifest = _manifest(stored)
    name = manifest.name
    if service.store.find(name, caches=False) is None:
        local = service.store.add(manifest)
        try:
            _check(service, local.path)
        except ApiError:
            service.store.remove(name)
            raise
    for each in stored:
        blobs.forget(upload_folder(each.sha256), partials=False)
    found = service.facts.of(ModelEntry(model=name))
    return Base(base=name, licence=found.licence or UNSTATED)


def _manifest(stored: list[StoredFile]) -> Manifest:
    lines = "".join(sorted(f"{each.sha256}  {each.name}\n" for each in stored))
    return Manifest(
        name=f"{CREATED}/{hashlib.sha256(lines.encode()).hexdigest()[:16]}",
        files=tuple(stored),
        source=CREATED,
        repo="",
        revision="",
        licence=UNSTATED,
        lineage=(),
        pulled_at=now(),
    )


def _check(service: Service, path: Path) -> str:
    """The licence of a checkpoint that can be read.

    Raises:
        ApiError: It cannot.
    """
    try:
        return service.facts.of(ModelEntry(model=str(path))).licence or UNSTATED
    except CheckpointError as error:
        raise invalid("files", error.message) from error
