"""Lists that are read page by page."""

from collections.abc import Mapping, Sequence

from tongwen.server.errors import ApiError, invalid


def page_of(
    ids: Sequence[str],
    query: Mapping[str, str],
    *,
    default: int,
    most: int,
    after: str = "after",
    before: str = "before",
) -> tuple[list[str], bool]:
    """The ids of a page, and whether there are more.

    Args:
        ids: All of them, in order.
        query: What stands behind the `?`: `limit`, and an id that the page begins after, or ends
            before.
        default: How many where `limit` is not said.
        most: How many at most.
        after: What the first of these ids is called.
        before: What the second is called.

    Raises:
        ApiError: `limit` is out of range, or an id is unknown.
    """
    limit = _limit(query.get("limit"), default, most)
    first = _place(ids, query[after], after) + 1 if after in query else 0
    if before in query:
        end = _place(ids, query[before], before)
        first = max(first, end - limit)
        return list(ids[first:end]), first > 0
    return list(ids[first : first + limit]), len(ids) > first + limit


def _limit(said: str | None, default: int, most: int) -> int:
    if said is None:
        return default
    if not (said.isascii() and said.isdigit() and len(said) < 10 and 1 <= int(said) <= most):
        raise invalid("limit", f"`limit` must lie between 1 and {most}")
    return int(said)


def _place(ids: Sequence[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise ApiError(404, f"`{name}` is no id of this list", "not_found", name)
    return list(ids).index(wanted)
