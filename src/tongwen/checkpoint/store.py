"""The models of this machine under their names.

    blobs/ partial/ locks/     see `blobs.py`
    models/<folder>/           the files of one name, hard links to blobs, and its manifest
    used/                      one note for each name, touched when it is used
    packed/                    weights as the kernels read them, see `kept.py`

Names that contain the same file share its bytes.  A model appears by one rename when all of it is
there, so what is listed can be loaded, whatever was killed when.
"""

import dataclasses
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tongwen.checkpoint.blobs import Blobs, full_disk_is_said, write_whole
from tongwen.checkpoint.caches import find_cached, whole_model
from tongwen.checkpoint.download import Patience, Progress
from tongwen.checkpoint.kept import Kept
from tongwen.checkpoint.manifest import MANIFEST, LocalModel, Manifest, read_manifest
from tongwen.checkpoint.model_names import ModelName, model_folder, parse_name
from tongwen.checkpoint.pull import STORE_LOCK, Confirm, Pull, SourceName
from tongwen.checkpoint.sources import UNSTATED, default_home
from tongwen.errors import CapacityError, CheckpointError, ModelNotFoundError

__all__ = ["LocalModel", "Store", "default_home"]

log = logging.getLogger(__name__)

_LINKS_FAIL = (OSError, NotImplementedError)


class Store:
    """Names to files, below `home`.

    Args:
        home: Its directory; see `default_home`.
        environ: Where other tools' caches, sources and tokens are named; None: the process's.
    """

    def __init__(self, home: Path, environ: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.environ = dict(os.environ if environ is None else environ)
        self._blobs = Blobs(home)

    def find(self, name: ModelName | str, *, caches: bool = True) -> LocalModel | None:
        """The model `name` if it is on this machine: in the store, then in another tool's cache.

        Args:
            name: As typed, or parsed.
            caches: Whether to look into the caches.

        Raises:
            ModelNotFoundError: `name` is not a name.
            CheckpointError: It is in the store and damaged.
        """
        parsed = _parsed(name)
        if parsed.path is not None:
            return self._with_use(_on_disk(parsed, parsed.path))
        if (self._model(parsed.text) / MANIFEST).exists():
            return self._stored(parsed.text)
        cached = find_cached(parsed, self.environ) if caches else None
        return self._with_use(cached) if cached else None

    def pull(
        self,
        name: ModelName | str,
        *,
        source: SourceName | None = None,
        progress: Progress | None = None,
        confirm: Confirm | None = None,
        patience: Patience | None = None,
    ) -> LocalModel:
        """The model `name`, fetched if it is not on this machine.

        Args:
            name: As typed, or parsed.
            source: Fetch from this one only, and look into no cache; None: see `Pull.run`.
            progress: Told `(done_bytes, total_bytes)` while files arrive.
            confirm: Shown the plan first; may say no.
            patience: How long to wait for a source.

        Raises:
            ModelNotFoundError: No such name; as `UnreachableError`, no source has it or answers.
            SourceError: A source does not deliver what it lists.
            CapacityError: The disk is too small; what had arrived of this model is deleted.
            CheckpointError: A source lists files that are not to be trusted.
        """
        parsed = _parsed(name)
        if local := self._present(parsed, caches=source is None):
            return local
        with self._blobs.lock(parsed.folder, why=f"`{parsed}`"):
            if local := self._present(parsed, caches=False):  # pulled by another meanwhile
                return local
            pull = Pull(
                name=parsed,
                blobs=self._blobs,
                environ=self.environ,
                patience=patience or Patience(),
                confirm=confirm,
                progress=progress,
            )
            try:
                self.add(pull.run(source))
            except CapacityError:
                self._abandon(parsed.folder)
                raise
            self._blobs.forget(parsed.folder, partials=False)
        return self._stored(parsed.text)

    def add(self, manifest: Manifest) -> LocalModel:
        """Give the blobs of `manifest` its name, in place of what had it.

        Raises:
            ModelNotFoundError: The name could reach outside the store.
            CheckpointError: A blob is missing.
            CapacityError: Links are not possible here and the disk is too small for copies.
        """
        model = self._model(manifest.name)
        with self._blobs.lock(STORE_LOCK):
            for file in manifest.files:
                if not self._blobs.has(file.sha256, file.size_bytes):
                    raise CheckpointError(f"the store has no blob for `{file.name}`")
            self._sweep()
            new, old = (model.with_name(f".{kind}-{model.name}") for kind in ("new", "old"))
            with full_disk_is_said(new):
                self._fill(new, manifest)
            if model.exists():
                os.replace(model, old)
            os.replace(new, model)
            self._sweep()
        return self._stored(manifest.name)

    def list(self) -> "list[LocalModel]":
        """The models of the store, by name; a damaged one is logged and left out."""
        models = []
        for folder in self._folders():
            try:
                models.append(self._stored_in(folder))
            except CheckpointError as error:
                log.warning("%s", error)
        return sorted(models, key=lambda model: model.name)

    def remove(self, name: ModelName | str) -> int:
        """Delete `name` and the blobs that no other name uses, and what was partly fetched of it.

        Packed weights go with the blobs that they were made of.

        Returns:
            How many bytes this frees.

        Raises:
            ModelNotFoundError: The store has no such model; one in another tool's cache is left
                to that tool.
        """
        parsed = _parsed(name)
        if parsed.path is not None:
            raise self._not_here(parsed)
        model, scratch = self._model(parsed.text), self.home / "partial" / parsed.folder
        if not (model.exists() or scratch.exists()):
            raise self._not_here(parsed)
        with self._blobs.lock(parsed.folder, why=f"`{parsed}`"):
            before = self._size_bytes()
            if model.exists():
                with self._blobs.lock(STORE_LOCK):
                    os.replace(model, model.with_name(f".old-{model.name}"))
                    self._sweep()
            self._abandon(parsed.folder)
            self._use_note(parsed.text).unlink(missing_ok=True)
            return before - self._size_bytes() + Kept(self.home).prune()

    def mark_used(self, name: ModelName | str) -> None:
        """Note that `name` is used now."""
        text = _parsed(name).text
        note = self._use_note(text)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, text)

    def last_used(self) -> str | None:
        """The name that was used last, or None."""
        notes = list((self.home / "used").glob("[!.]*"))
        return max(notes, key=lambda note: note.stat().st_mtime_ns).read_text() if notes else None

    def check(self, *, digests: bool = False) -> None:
        """Hold the store to its own rules.

        Args:
            digests: Read every blob and compare its digest too; takes as long as reading them.

        Raises:
            CheckpointError: A manifest is damaged, a file is not the blob its manifest names, a
                blob is used by no name and wanted by no pull, or has another digest.
        """
        used = self._blobs.planned()
        for folder in self._folders():
            manifest = read_manifest(folder / MANIFEST)
            for file in manifest.files:
                self._check_file(folder / file.name, self._blobs.path(file.sha256))
            used |= {file.sha256 for file in manifest.files}
        for digest, path in self._blobs.all().items():
            if digest not in used:
                raise CheckpointError(f"no model uses `{path}`")
            if digests and _sha256(path) != digest:
                raise CheckpointError(f"`{path}` does not have the digest in its name")

    def _check_file(self, file: Path, blob: Path) -> None:
        for path in (file, blob):
            if not path.is_file():
                raise CheckpointError(f"`{path}` is missing")
        if file.stat().st_size != blob.stat().st_size:
            raise CheckpointError(f"`{file}` is not `{blob.name}`")

    def _present(self, name: ModelName, *, caches: bool) -> LocalModel | None:
        try:
            return self.find(name, caches=caches)
        except CheckpointError as error:
            log.warning("%s; fetching what is missing", error)
            return None

    def _abandon(self, folder: str) -> None:
        """Delete what the pull of `folder` has fetched so far and no name uses."""
        with self._blobs.lock(STORE_LOCK):
            self._blobs.forget(folder, partials=True)
            self._collect()

    def _collect(self) -> None:
        """Delete blobs that no name uses; while a manifest is damaged what it uses is unknown."""
        try:
            used = {
                file.sha256
                for folder in self._folders()
                for file in read_manifest(folder / MANIFEST).files
            }
        except CheckpointError as error:
            log.warning("%s; no blob is deleted until it is removed", error)
            return
        for digest, path in self._blobs.all().items():
            if digest not in used | self._blobs.planned():
                path.unlink()

    def _sweep(self) -> None:
        """Remove folders that a killed process was about to name or had unnamed."""
        for left in (self.home / "models").glob(".*-*"):
            shutil.rmtree(left)

    def _fill(self, folder: Path, manifest: Manifest) -> None:
        folder.mkdir(parents=True)
        for file in manifest.files:
            blob, named = self._blobs.path(file.sha256), folder / file.name
            try:
                os.link(blob, named)
            except _LINKS_FAIL as error:
                log.info("no hard link to `%s` (%s): copying", blob, error)
                shutil.copyfile(blob, named)
        write_whole(folder / MANIFEST, manifest.to_json())

    def _stored(self, name: str) -> LocalModel:
        return self._stored_in(self._model(name))

    def _stored_in(self, folder: Path) -> LocalModel:
        manifest = read_manifest(folder / MANIFEST)
        files = [folder / file.name for file in manifest.files]
        for file, path in zip(manifest.files, files, strict=True):
            found = path.stat().st_size if path.is_file() else None
            if found != file.size_bytes:
                raise CheckpointError(
                    f"`{path}` has {found} bytes, expected {file.size_bytes}",
                    hint=f"`tongwen pull {manifest.name}` fetches what is missing",
                )
        is_gguf = all(path.suffix.lower() == ".gguf" for path in files)
        return self._with_use(
            LocalModel(
                name=manifest.name,
                path=min(files) if is_gguf else folder,
                files=tuple(files),
                size_bytes=sum(file.size_bytes for file in manifest.files),
                licence=manifest.licence,
                source=manifest.source,
                lineage=manifest.lineage,
                digest=manifest.digest,
                repo=manifest.repo,
                revision=manifest.revision,
                pulled_at=datetime.fromisoformat(manifest.pulled_at),
            )
        )

    def _with_use(self, model: LocalModel) -> LocalModel:
        note = self._use_note(model.name)
        if not note.exists():
            return model
        used = datetime.fromtimestamp(note.stat().st_mtime, tz=UTC)
        return dataclasses.replace(model, last_used=used)

    def _use_note(self, name: str) -> Path:
        return self.home / "used" / hashlib.sha256(name.encode()).hexdigest()[:16]

    def _model(self, name: str) -> Path:
        return self.home / "models" / model_folder(name)

    def _folders(self) -> Iterator[Path]:
        return (path for path in sorted((self.home / "models").glob("[!.]*")) if path.is_dir())

    def _size_bytes(self) -> int:
        partials = (self.home / "partial").rglob("*")
        paths = [*self._blobs.all().values(), *(path for path in partials if path.is_file())]
        return sum(path.stat().st_size for path in paths)

    def _not_here(self, name: ModelName) -> ModelNotFoundError:
        elsewhere = self.find(name)
        if elsewhere is None:
            return ModelNotFoundError(f"the store has no model `{name}`")
        return ModelNotFoundError(
            f"`{name}` is not in the store: it lies at `{elsewhere.path}` ({elsewhere.source})",
            hint="what other tools have fetched is theirs to delete",
        )


def _parsed(name: ModelName | str) -> ModelName:
    return parse_name(name) if isinstance(name, str) else name


def _on_disk(name: ModelName, path: Path) -> LocalModel:
    if name.kind == "gguf":
        files = [path, *_other_shards(path)]
    else:
        files = whole_model(path, None) or [each for each in path.iterdir() if each.is_file()]
    return LocalModel(
        name=name.text,
        path=path,
        files=tuple(files),
        size_bytes=sum(each.stat().st_size for each in files),
        licence=UNSTATED,
        source="disk",
    )


def _other_shards(path: Path) -> "list[Path]":
    """The shards that go with `path`, the first of a split GGUF; none for a whole one."""
    stem, found, rest = path.name.partition("-00001-of-")
    if not found:
        return []
    names = {each.name for each in path.parent.glob("*.gguf")}
    return [
        path.parent / each
        for each in sorted(names)
        if each.startswith(f"{stem}-") and each.endswith(rest) and each != path.name
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
