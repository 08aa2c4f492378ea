"""What a resource was before: its revisions, as the events of its changes hold them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from flowdapt.errors import FlowdaptError, ResourceNotFound
from flowdapt.events import ACTOR, RESOURCES
from flowdapt.resources import Resource
from flowdapt.storage import EventQuery
from flowdapt_rest.shapes import GIVEN_BY_SERVER, Fault, Revision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from flowdapt.catalog import Catalog
    from flowdapt.errors import ResourceChanged
    from flowdapt.storage import Document

PAGE = 500  #: events read at once
LONGEST = 200  #: characters of a value in a message


class NoRevision(FlowdaptError):
    """There is no such revision, or it is not kept any more."""


class Revisions:
    """The history of the resources of one kind."""

    def __init__(self, catalog: Catalog, model: type[Resource]) -> None:
        self.catalog, self.model = catalog, model
        self.kind = str(model.model_fields["kind"].default)

    async def of(self, identifier: str) -> Sequence[Revision]:
        """Return the revisions of a resource that are kept, oldest first.

        :param identifier: a name or a uid; of one that was deleted, too
        :raises ResourceNotFound: there never was one, or nothing is kept of it
        """
        try:
            uid = str((await self.catalog.get(self.model, identifier)).metadata.uid)
        except ResourceNotFound:
            uid = await self._last_uid(identifier)
        query = EventQuery(channels=(RESOURCES,), subject=f"{self.kind}/{uid}", limit=PAGE)
        return [_revision(event) async for event in self._events(query)]

    async def restore(self, identifier: str, generation: int | None, *, by: str) -> Resource:
        """Make a resource again what it was; one that was deleted is created anew.

        :param generation: of the revision; absent, the one before the last change
        :raises ResourceNotFound: there never was such a resource, or nothing is kept of it
        :raises NoRevision: there is no such revision of it
        """
        revisions = await self.of(identifier)
        if not revisions:
            raise NoRevision(f"no revision of {self.kind} {identifier!r} is kept")
        *older, last = revisions
        known = {r["generation"]: r["resource"] for r in older if r["change"] != "deleted"}
        deleted = last["change"] == "deleted"
        if not deleted and generation == last["generation"]:
            known[generation] = last["resource"]
        wanted = max(known, default=None) if generation is None else generation
        if wanted not in known:
            numbers = ", ".join(map(str, known)) or "none"
            raise NoRevision(
                f"{self.kind} {identifier!r} has no such revision to go back to; "
                f"there are: {numbers}"
            )
        data, where = _of_client(known[wanted]), f"revision {wanted}"
        if deleted:
            return await self.catalog.create(self.model, data, where=where, by=by)
        uid = last["resource"]["metadata"]["uid"]
        return await self.catalog.replace(
            self.model, uid, data, expected=last["generation"], where=where, by=by
        )

    async def explain(self, error: ResourceChanged, identifier: str) -> None:
        """Note in a refusal what somebody else changed meanwhile, if that is kept."""
        known = {r["generation"]: r["resource"] for r in await self.of(identifier)}
        if error.expected in known and error.found in known:
            old, new = _of_client(known[error.expected]), _of_client(known[error.found])
            error.errors = differences(old, new)

    async def _last_uid(self, identifier: str) -> str:
        """Return the uid of the resource that had a name last."""
        found = None
        async for event in self._events(EventQuery(channels=(RESOURCES,), limit=PAGE)):
            data = event["data"]
            if data["kind"] == self.kind and identifier in (data["name"], data["uid"]):
                found = data["uid"]
        if found is None:
            raise ResourceNotFound(self.kind, identifier)
        return str(found)

    async def _events(self, query: EventQuery) -> AsyncIterator[dict[str, Any]]:
        while True:
            page = await self.catalog.storage.read_events(query)
            await asyncio.sleep(0)  # others have their turn
            for document in page.entries.values():
                yield orjson.loads(document)
            if page.next <= query.after:
                return
            query = replace(query, after=page.next)


def _revision(event: dict[str, Any]) -> Revision:
    return {
        "generation": event["data"]["generation"],
        "time": event["time"],
        "actor": event["headers"].get(ACTOR, ""),
        "change": event["type"].rpartition(".")[2],
        "resource": event["data"]["resource"],
    }


def _of_client(document: Document) -> Document:
    metadata = document["metadata"]
    kept = {key: value for key, value in metadata.items() if key not in GIVEN_BY_SERVER}
    return {**document, "metadata": kept}


def differences(old: Any, new: Any, path: tuple[str | int, ...] = ()) -> list[Fault]:
    """Return where two values of JSON differ, each place with its path."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(key, old.get(key, _NONE), new.get(key, _NONE)) for key in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [*zip(range(len(old)), old, new, strict=True)]
    elif old == new:
        return []
    else:
        return [_difference(old, new, path)]
    return [found for key, a, b in pairs for found in differences(a, b, (*path, key))]


_NONE: Any = object()  # stands for what is not there


def _difference(old: Any, new: Any, path: tuple[str | int, ...]) -> Fault:
    if old is _NONE:
        what, said = "added", f"was added: {_shown(new)}"
    elif new is _NONE:
        what, said = "removed", f"was removed: {_shown(old)}"
    else:
        what, said = "changed", f"was {_shown(old)}, is {_shown(new)}"
    return {"loc": [*path], "msg": said, "type": what}


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
