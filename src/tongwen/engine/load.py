"""How much an engine does and holds at a moment.  No tensors."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a dashboard shows."""

    num_running: int
    """Requests in a step."""

    num_waiting: int
    """Requests that wait for a place."""

    num_preemptions: int
    """How often a request gave its blocks back, so far."""

    cache_share: float
    """Share of the cache's blocks that somebody holds."""
