"""Which resources a list has, in which order, and how it goes on."""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from flowdapt.errors import ResourceNotFound
from flowdapt_rest import query
from flowdapt_rest.operations import Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request

    from flowdapt.resources import Resource


class Order(StrEnum):
    """What resources are ordered by; with a dash, the other way round."""

    CREATED, CREATED_LAST = "created", "-created"
    NAME, NAME_LAST = "name", "-name"
    UPDATED, UPDATED_LAST = "updated", "-updated"


_KEYS = {
    "created": attrgetter("metadata.created_at"),
    "name": attrgetter("name"),
    "updated": attrgetter("metadata.updated_at"),
}

ANNOTATIONS = Query(
    "annotations", query.pairs, "Only those with all of these annotations: `key=value,key=value`."
)
ORDER = Query("order", query.word, "What comes first.", default=Order.CREATED)
LIMIT = Query("limit", query.integer, "At most so many; below 1 means all.", default=0)
CURSOR = Query(
    "cursor",
    query.uid,
    "The uid of a resource: only those behind it. The header `Link` names the next part.",
)
CHOICE: list[Query[Any]] = [ANNOTATIONS, ORDER, LIMIT, CURSOR]


def chosen(
    request: Request, resources: Sequence[Resource], kind: str
) -> tuple[Sequence[Resource], Iterable[tuple[str, str]]]:
    """Return the resources that a request asks for, and the headers that tell how to go on.

    :raises ResourceNotFound: the one that it wants to go on behind is not there any more
    """
    if not request.scope["query_string"]:
        return resources, ()
    wanted, order = ANNOTATIONS.of(request).items(), ORDER.of(request)
    limit, cursor = LIMIT.of(request), CURSOR.of(request)
    found = [one for one in resources if wanted <= one.metadata.annotations.items()]
    found.sort(key=_KEYS[order.lstrip("-")], reverse=order.startswith("-"))
    if cursor is not None:
        places = [place for place, one in enumerate(found) if one.metadata.uid == cursor]
        if not places:
            raise ResourceNotFound(kind, str(cursor))
        found = found[places[0] + 1 :]
    if not 0 < limit < len(found):
        return found, ()
    found = found[:limit]
    following = request.url.include_query_params(cursor=found[-1].metadata.uid)
    return found, [("Link", f'<{following.path}?{following.query}>; rel="next"')]
