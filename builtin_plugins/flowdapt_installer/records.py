"""What is stored: sets, which of them is active, and every change that was begun."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, TypeVar
from uuid import uuid4

from flowdapt_sets.sets import PluginSet
from pydantic import Field

from flowdapt.errors import ResourceExists, ResourceNotFound
from flowdapt.events import Event
from flowdapt.resources import Metadata, Model, Resource, Timestamp, now
from flowdapt.storage import Storage

KEPT_BEFORE = 10  #: sets that were active before, which is how far a rollback can go

_R = TypeVar("_R", bound=Resource)


def shown(text: str) -> str:
    """Return a requirement without the user and password of an address in it."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


class Wanted(Model):
    """What was asked for by name, beside what it needs.

    :ivar requirement: for uv; `wheel:` and a hash for a wheel that is kept
    :ivar source: what somebody wrote, such as an address of git
    """

    requirement: str
    source: str = ""


class SetSpec(Model):
    """A set, and what was asked for."""

    plugins: dict[str, Any]
    wanted: dict[str, Wanted] = Field(default_factory=dict)
    python: str = ""


class StoredSet(Resource):
    """A set under its id; it never changes."""

    collection: ClassVar[str] = "plugin_sets"

    kind: Literal["plugin_set"] = "plugin_set"
    spec: SetSpec

    @property
    def plugin_set(self) -> PluginSet:
        """The set itself."""
        return PluginSet.of(self.spec.plugins)


class ActiveSpec(Model):
    """Which set runs begin with.

    :ivar namespace: of these runs; empty for all that have no own one
    :ivar active: the id of a set; empty for none
    :ivar change: that made it so
    :ivar before: which were active before, the last one last
    """

    namespace: str = ""
    active: str = ""
    change: str = ""
    before: tuple[str, ...] = ()


class Active(Resource):
    """The pointer that a change moves in the end, and that is all that it moves."""

    collection: ClassVar[str] = "active_plugins"

    kind: Literal["active_plugins"] = "active_plugins"
    spec: ActiveSpec


class ChangeSpec(Model):
    """How a change goes, or went.

    :ivar names: what it was asked to install, upgrade or remove, as somebody wrote it
    :ivar state: `done`, also where nothing had to be done; `interrupted` by the server's end
    :ivar step: where it is, or ended
    :ivar error: why it failed, and then everything is as it was before
    :ivar active: the set that it made active, or would have
    :ivar added: distributions with their versions
    :ivar nodes: what was wrong on each node; empty texts for those that are ready
    :ivar notes: what is to be known or done beside
    """

    what: Literal["install", "upgrade", "remove", "rollback"]
    names: tuple[str, ...] = ()
    namespace: str = ""
    by: str = ""
    dry_run: bool = False
    state: Literal["running", "done", "failed", "interrupted"] = "running"
    step: str = "begin"
    error: str = ""
    active: str = ""
    added: dict[str, str] = Field(default_factory=dict)
    removed: dict[str, str] = Field(default_factory=dict)
    nodes: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    started_at: Timestamp = Field(default_factory=now)
    ended_at: Timestamp | None = None

    @property
    def text(self) -> str:
        """What is changed, in words."""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        names = (n.partition("#")[2] if n.startswith("wheel:") else shown(n) for n in self.names)
        return f"{self.what} {' '.join(names)}".rstrip() + where


class Change(Resource):
    """A change of the plugins under a name of its own."""

    collection: ClassVar[str] = "plugin_changes"

    kind: Literal["plugin_change"] = "plugin_change"
    spec: ChangeSpec


class Records:
    """Reads and writes all of these. Their kinds are not offered to anybody: they have own routes.

    :param storage: of the server
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def sets(self) -> list[StoredSet]:
        """Return all sets, the oldest first."""
        return await self._list(StoredSet, "plugin_set")

    async def get_set(self, id: str) -> StoredSet:  # noqa: A002 - what sets have
        """Return a set.

        :raises ResourceNotFound: there is none
        """
        return StoredSet.parse(await self._storage.get("plugin_set", id), where=f"set {id}")

    async def add_set(self, found: PluginSet, wanted: dict[str, Wanted], python: str) -> None:
        """Keep a set, unless it is kept already; what was asked for is as it is now."""
        spec = SetSpec(plugins=found.to_dict(), wanted=wanted, python=python)
        made = StoredSet(metadata=Metadata(name=found.id), spec=spec)
        try:
            await self._storage.create(made.model_dump(mode="json"))
        except ResourceExists:
            old = await self.get_set(found.id)
            if old.spec.wanted != wanted:
                await self._replace(old, spec)

    async def active(self, namespace: str = "") -> Active:
        """Return which set is active in a namespace; one that is not stored is of generation 0."""
        try:
            document = await self._storage.get("active_plugins", _name(namespace))
        except ResourceNotFound:
            metadata = Metadata(name=_name(namespace), generation=0)
            return Active(metadata=metadata, spec=ActiveSpec(namespace=namespace))
        return Active.parse(document, where="active plugins")

    async def all_active(self) -> list[Active]:
        """Return which sets are active, and where."""
        return await self._list(Active, "active_plugins")

    async def activate(self, old: Active, active: str, change: str, event: Event) -> Active:
        """Have another set be active; this one write is all that a change comes to.

        :param old: what is replaced
        :param event: tells of it, and is kept with it
        :raises ResourceChanged: somebody else was quicker
        """
        before = (*old.spec.before, old.spec.active)[-KEPT_BEFORE:]
        spec = old.spec.model_copy(update={"active": active, "change": change, "before": before})
        return await self._move(old, spec, event)

    async def go_back(self, old: Active, active: str, change: str, event: Event) -> Active:
        """Do what :meth:`activate` does, with a set that was active before."""
        before = old.spec.before
        if active in before:
            last = len(before) - 1 - before[::-1].index(active)
            before = before[:last]
        spec = old.spec.model_copy(update={"active": active, "change": change, "before": before})
        return await self._move(old, spec, event)

    async def _move(self, old: Active, spec: ActiveSpec, event: Event) -> Active:
        if not old.metadata.generation:
            made = Active(metadata=old.metadata, spec=spec).noting(generation=1)
            await self._storage.create(made.model_dump(mode="json"), events=[event])
            return made
        return await self._replace(old, spec, event)

    async def changes(self) -> list[Change]:
        """Return all changes, the oldest first."""
        return await self._list(Change, "plugin_change")

    async def get_change(self, name: str) -> Change:
        """Return a change.

        :raises ResourceNotFound: there is none
        """
        return Change.parse(await self._storage.get("plugin_change", name), where=f"change {name}")

    async def begin(self, spec: ChangeSpec) -> Change:
        """Keep a change that begins."""
        made = Change(metadata=Metadata(name=uuid4().hex[:12]), spec=spec)
        await self._storage.create(made.model_dump(mode="json"))
        return made

    async def save(self, change: Change, **facts: Any) -> Change:
        """Keep how a change goes on."""
        return await self._replace(change, change.spec.model_copy(update=facts))

    async def _replace(self, old: _R, spec: Model, *events: Event) -> _R:
        expected = old.metadata.generation
        new = old.model_copy(update={"spec": spec})
        new = new.noting(updated_at=now(), generation=expected + 1)
        document = new.model_dump(mode="json")
        await self._storage.replace(document, expected=expected, events=events)
        return new

    async def _list(self, kind: type[_R], name: str) -> list[_R]:
        found = await self._storage.list(name)
        return [kind.parse(document, where=f"stored {name}") for document in found]


def _name(namespace: str) -> str:
    return f"namespace-{namespace}" if namespace else "all"
