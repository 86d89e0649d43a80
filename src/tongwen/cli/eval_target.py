"""From options to who is measured and who judges."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongwen.cli.choose import Wish, choose, runnable_name
from tongwen.cli.names import open_store
from tongwen.cli.remote import key_of

if TYPE_CHECKING:
    from tongwen.evals.target import Target


def target_of(options: Mapping[str, Any]) -> "Target":
    """Who is measured: a model here, fetched where it is not on this machine, or an endpoint's."""
    # Its module imports torch, which takes a second: not for a wrong command line.
    from tongwen.evals.target import Target

    there = options["endpoint"]
    return Target(
        model=_local(options, options["model"]) if there is None else options["model"],
        weights=options["weights"],
        device=options.get("device", "auto"),
        context=options.get("context"),
        home=open_store().home,
        endpoint=there,
        api_key=key_of(os.environ, options["api_key_env"]),
        is_chat=options.get("chat"),
    )


def judge_of(options: Mapping[str, Any]) -> "Target | None":
    """Who judges, if anybody was named."""
    from tongwen.evals.target import Target

    name, there = options["judge"], options["judge_endpoint"]
    if name is None and there is None:
        return None
    return Target(
        model=_local(options, name) if there is None else name,
        home=open_store().home,
        endpoint=there,
        api_key=key_of(os.environ, options["judge_key_env"]),
    )


def _local(options: Mapping[str, Any], name: str | None) -> str:
    wish = Wish(
        model=name,
        source=options.get("source"),
        weights=options["weights"],
        device=options.get("device", "auto"),
        context=options.get("context"),
        agrees=options.get("yes", False),
    )
    return runnable_name(choose(open_store(), wish))
