"""`GET /v1/models`, as Anthropic's clients read it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tongwen.server.config import ModelEntry
from tongwen.server.paging import page_of
from tongwen.server.service import Service

_FEW, _MANY = 20, 1000


def anthropic_models(service: Service, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of the models that can be asked.

    Raises:
        ApiError: The query asks for no page.
    """
    entries = service.pool.entries()
    named = {name: entry for entry in entries for name in entry.names}
    shown, has_more = page_of(
        list(named), query, default=_FEW, most=_MANY, after="after_id", before="before_id"
    )
    return {
        "data": [anthropic_model(service, named[name], name) for name in shown],
        "has_more": has_more,
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }


def anthropic_model(service: Service, entry: ModelEntry, name: str) -> dict[str, Any]:
    """One of them."""
    loaded = {served.name: served for served in service.pool.loaded()}
    served = loaded.get(entry.names[0])
    context = entry.context if served is None else served.llm.context
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": datetime.fromtimestamp(service.started, UTC).isoformat(),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }
