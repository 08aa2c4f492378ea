"""What users apply: checked, stored, and found by name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from flowdapt import events
from flowdapt.errors import InvalidResource, ResourceChanged, ResourceExists, ResourceNotFound
from flowdapt.events import ACTOR, RESOURCES, Event, Events
from flowdapt.resources import Resource, now
from flowdapt.storage import Document, Storage

_Kind = TypeVar("_Kind", bound=Resource)
Check = Callable[[Any, str], Awaitable[None]]
Verdict = Literal["created", "changed", "unchanged"]


def identifier(text: str) -> str | UUID:
    """Return a uid where ``text`` is one, in any case and with or without dashes, else the name."""
    if re.fullmatch(r"(?i)[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        return UUID(text)
    return text


class Catalog:
    """Keeps resources. Each change is an event, which holds the resource as it became.

    Whoever changes something may say ``by`` whom, which the event tells, and that it is a
    ``dry_run``: then everything is checked, and nothing is stored.

    :param kinds: models of resources by kind
    """

    def __init__(self, storage: Storage, kinds: Mapping[str, type[Resource]]) -> None:
        self.storage, self.kinds = storage, kinds
        self.events = Events()
        self.checks: dict[str, Check] = {}  #: what services refuse of the kinds that they know
        self._known: dict[str, dict[str, Resource]] = {}
        self._changes = 0  # how often stored resources changed
        self._writing = asyncio.Lock()

    def model(self, kind: str) -> type[Resource]:
        """Return the model of a kind.

        :raises InvalidResource: no plugin offers that kind
        """
        if kind not in self.kinds:
            known = ", ".join(map(repr, self.kinds))
            raise InvalidResource.at(
                "resource", ("kind",), f"{kind!r} is no kind of resource; there are {known}"
            )
        return self.kinds[kind]

    async def list(self, kind: type[_Kind]) -> list[_Kind]:
        """Return all resources of a kind, in the order in which they were created."""
        return list((await self._of(kind)).values())

    async def get(self, kind: type[_Kind], name: str | UUID) -> _Kind:
        """Return a resource by name or uid.

        :raises ResourceNotFound: there is none
        """
        known = await self._of(kind)
        wanted = identifier(name) if isinstance(name, str) else name
        if isinstance(wanted, str) and wanted in known:
            return known[wanted]
        for resource in known.values():
            if resource.metadata.uid == wanted:
                return resource
        raise ResourceNotFound(_kind(kind), str(name))

    async def _of(self, kind: type[_Kind]) -> dict[str, _Kind]:
        """Return a kind's resources by name; they are read once."""
        key = _kind(kind)
        if key not in self._known:
            changes = self._changes
            documents = await self.storage.list(key)
            found = {read.name: read for read in (_read(kind, d) for d in documents)}
            if changes != self._changes:  # meanwhile, so this may be what was there before
                return found
            self._known[key] = dict(found)
        return self._known[key]  # type: ignore[return-value]  # filled from the same kind above

    async def _change(
        self,
        kind: type[Resource],
        event: Event,
        document: Document | None,
        storing: Awaitable[None],
    ) -> None:
        """Store what a resource is from now on, and tell; without a document it is gone."""
        try:
            await storing
        except BaseException:  # it may be stored for all that, if it was cancelled
            self._changes += 1
            self._known.pop(_kind(kind), None)
            raise
        self._changes += 1
        known, name, uid = self._known.get(_kind(kind)), event.data["name"], event.data["uid"]
        if known and document and name in known and known[name].metadata.uid == uid:
            known[name] = _read(kind, document)  # as with most changes; there may be very many
        elif known is not None:
            found = {resource.metadata.uid: resource for resource in known.values()}
            if document is None:
                del found[uid]
            else:  # in its old place, under a new name perhaps
                found[uid] = _read(kind, document)
            self._known[_kind(kind)] = {resource.name: resource for resource in found.values()}
        self.events.publish(event)

    async def check(self, resource: Resource, where: str) -> None:
        """Refuse what the model alone cannot, see :attr:`checks`."""
        if (check := self.checks.get(resource.kind)) is not None:
            await check(resource, where)

    async def create(
        self,
        kind: type[_Kind],
        data: object,
        *,
        strict: bool = False,
        where: str = "request body",
        by: str = "",
        dry_run: bool = False,
    ) -> _Kind:
        """Check and store a new resource.

        :param data: the resource as plain data; its uid and times are given here
        :param strict: refuse unknown fields
        :raises InvalidResource: with the paths of the faults; nothing was stored
        :raises ResourceExists: one of the kind has the name
        """
        resource = kind.parse(data, where=where, strict=strict)
        time = now()
        resource = resource.noting(uid=uuid4(), created_at=time, updated_at=time, generation=1)
        await self.check(resource, where)
        async with self._writing:
            document = _document(resource, where)
            if dry_run and resource.name in await self._of(kind):  # else the storage sees to that
                raise ResourceExists(_kind(kind), resource.name)
            if not dry_run:
                event = _told(events.RESOURCE_CREATED, resource, document, by)
                storing = self.storage.create(document, events=[event])
                await self._change(kind, event, document, storing)
        return resource

    async def replace(
        self,
        kind: type[_Kind],
        name: str | UUID,
        data: object,
        *,
        expected: int | None = None,
        strict: bool = False,
        where: str = "request body",
        by: str = "",
        dry_run: bool = False,
    ) -> _Kind:
        """Check a resource and store it in place of another; it may have a new name.

        :param expected: the generation that is being replaced; absent, whichever there is
        :raises InvalidResource: with the paths of the faults; nothing was stored
        :raises ResourceNotFound: there is none to replace
        :raises ResourceChanged: its generation is not ``expected``; nothing was stored
        :raises ResourceExists: its new name is another's
        """
        await self.get(kind, name)
        resource = kind.parse(data, where=where, strict=strict)
        await self.check(resource, where)
        async with self._writing:
            old = await self._expected(kind, name, expected)
            generation = old.metadata.generation
            renamed = resource.name != old.name
            if dry_run and renamed and resource.name in await self._of(kind):
                raise ResourceExists(_kind(kind), resource.name)
            resource = resource.noting(
                uid=old.metadata.uid,
                created_at=old.metadata.created_at,
                updated_at=now(),
                generation=generation + 1,
                annotations={**old.server_annotations, **resource.metadata.annotations},
            )
            document = _document(resource, where)
            if not dry_run:
                event = _told(events.RESOURCE_CHANGED, resource, document, by)
                storing = self.storage.replace(document, expected=generation, events=[event])
                await self._change(kind, event, document, storing)
        return resource

    async def note(
        self, kind: type[_Kind], known: _Kind, notes: Mapping[str, str], *, time: datetime
    ) -> _Kind:
        """Add annotations of the server to a resource; its generation stays the same.

        :param notes: keys begin with :data:`flowdapt.resources.SERVER_ANNOTATIONS`
        :param time: when it is as if it were updated
        :raises ResourceNotFound: it was deleted, or has another name
        :raises ResourceChanged: it is not of the generation that was known
        """
        async with self._writing:
            generation, uid = known.metadata.generation, known.metadata.uid
            old = await self._expected(kind, known.name, generation)  # a uid takes a long look
            if old.metadata.uid != uid:
                raise ResourceNotFound(_kind(kind), str(uid))
            annotations = {**old.metadata.annotations, **notes}
            resource = old.noting(updated_at=time, annotations=annotations)
            document = _document(resource, "notes")
            event = replace(_told(events.RESOURCE_NOTED, resource, document, ""), kept=False)
            storing = self.storage.replace(document, expected=generation)
            await self._change(kind, event, document, storing)
        return resource

    async def _expected(self, kind: type[_Kind], name: str | UUID, expected: int | None) -> _Kind:
        """Return the resource that is to be changed, if it is of the expected generation."""
        found = await self.get(kind, name)
        if expected not in (None, generation := found.metadata.generation):
            raise ResourceChanged(_kind(kind), found.name, expected, generation)
        return found

    async def apply(
        self, data: Document, *, strict: bool = True, where: str = "resource", by: str = ""
    ) -> tuple[Resource, Verdict]:
        """Create a resource, or replace the one of its kind that has its name if it differs."""
        kind = self.model(str(data.get("kind")))
        wanted = kind.parse(data, where=where, strict=strict)
        try:
            present = await self.get(kind, wanted.name)
        except ResourceNotFound:
            with suppress(ResourceExists):  # somebody else was quicker, so it is a change
                made = await self.create(kind, data, strict=strict, where=where, by=by)
                return made, "created"
            present = await self.get(kind, wanted.name)
        notes = {**present.server_annotations, **wanted.metadata.annotations}
        if wanted.spec == present.spec and notes == present.metadata.annotations:
            return present, "unchanged"
        changed = await self.replace(kind, wanted.name, data, strict=strict, where=where, by=by)
        return changed, "changed"

    async def delete(
        self,
        kind: type[_Kind],
        name: str | UUID,
        *,
        expected: int | None = None,
        by: str = "",
        dry_run: bool = False,
    ) -> _Kind:
        """Remove a resource and return it; runs of a workflow stay.

        :raises ResourceNotFound: there is none
        :raises ResourceChanged: its generation is not ``expected``; it is still there
        """
        async with self._writing:
            resource = await self._expected(kind, name, expected)
            if not dry_run:
                document = _document(resource, "stored resource")
                event = _told(events.RESOURCE_DELETED, resource, document, by)
                storing = self.storage.delete(_kind(kind), resource.metadata.uid, events=[event])
                await self._change(kind, event, None, storing)
        return resource


def _kind(model: type[Resource]) -> str:
    return str(model.model_fields["kind"].default)


def _read(kind: type[_Kind], document: Document) -> _Kind:
    return kind.parse(document, where=f"stored {_kind(kind)}")


def _document(resource: Resource, where: str) -> Document:
    try:
        return resource.model_dump(mode="json")
    except ValueError as error:  # such as a function, or lists in lists without end
        raise InvalidResource.at(where, (), f"cannot be stored as JSON: {error}") from None


def _told(what: str, resource: Resource, document: Document, by: str) -> Event:
    """Return the event that tells of a change; it is the resource's history, too."""
    uid, generation = resource.metadata.uid, resource.metadata.generation
    return Event(
        type=what,
        channel=RESOURCES,
        source="catalog",
        subject=f"{resource.kind}/{uid}",
        headers={ACTOR: by} if by else {},
        data={
            "kind": resource.kind,
            "name": resource.name,
            "uid": uid,
            "generation": generation,
            "resource": document,
        },
    )
