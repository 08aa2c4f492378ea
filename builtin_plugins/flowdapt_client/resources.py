"""What a client does with resources, written once for every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from flowdapt.errors import ResourceNotFound
from flowdapt.resources import SERVER_ANNOTATIONS, Resource
from flowdapt_client.addresses import Named, about, path
from flowdapt_client.binding import Asking, Group, Iterating
from flowdapt_client.events import followed
from flowdapt_client.hearing import AWAY_SECONDS
from flowdapt_client.reading import read, read_list
from flowdapt_client.records import Applied, Event, Revision
from flowdapt_client.steps import Call, Items, Request
from flowdapt_client.streams import Awaiting, Blocking

_S = TypeVar("_S", bound=Blocking | Awaiting)
_R = TypeVar("_R", bound=Resource)

Given = Resource | Mapping[str, Any]


class Resources(Group[_S], Generic[_S, _R]):
    """The resources of one kind; one is meant by its name or its uid.

    With ``dry_run`` everything is checked, and nothing is stored.
    """

    def __init__(self, shell: _S, model: type[_R]) -> None:
        super().__init__(shell)
        self.model = model
        self.kind = str(model.model_fields["kind"].default)

    @Asking
    def list(
        self,
        *,
        annotations: Mapping[str, str] | None = None,
        order: str | None = None,
        limit: int | None = None,
    ) -> Call[Sequence[_R]]:
        """Return resources.

        :param annotations: only resources that have all of these
        :param order: ``created``, ``name`` or ``updated``; with ``-`` in front, the other way round
        :param limit: at most so many
        """
        wanted = ",".join(f"{key}={value}" for key, value in (annotations or {}).items())
        query = {"annotations": wanted or None, "order": order, "limit": limit}
        request = Request("GET", f"/{self.model.collection}/", query=query, kind=self.kind)
        return read_list(self.model, (yield request))

    @Asking
    def get(self, name: Named) -> Call[_R]:
        """Return one resource.

        :raises ResourceNotFound: there is none
        """
        return (yield from self._one("GET", name))

    @Asking
    def create(self, resource: _R | Mapping[str, Any], *, dry_run: bool = False) -> Call[_R]:
        """Store a new resource and return it; unknown fields are refused."""
        return (yield from self._create(resource, dry_run))

    @Asking
    def replace(
        self,
        name: Named,
        resource: _R | Mapping[str, Any],
        *,
        if_match: int | None = None,
        dry_run: bool = False,
    ) -> Call[_R]:
        """Store a resource in place of another, and return it; unknown fields are refused.

        :param if_match: only where this is still its ``metadata.generation``; else the server
            refuses with the status 409, and names the fields that differ
        :raises ResourceNotFound: there is none to replace
        """
        return (yield from self._replace(name, resource, if_match, dry_run))

    @Asking
    def apply(
        self, resource: _R | Mapping[str, Any], *, dry_run: bool = False
    ) -> Call[Applied[_R]]:
        """Create a resource, or replace the one of its name where that differs.

        :raises InvalidResource: it is none; nothing was sent
        """
        wanted = self.model.parse(_data(resource), where=self.kind, strict=True)
        try:
            before = yield from self._one("GET", wanted.name)
        except ResourceNotFound:
            made = yield from self._create(resource, dry_run)
            return Applied(verdict="created", resource=made)
        if _same(wanted, before):
            return Applied(verdict="unchanged", resource=before, before=before)
        changed = yield from self._replace(wanted.name, resource, None, dry_run)
        return Applied(verdict="changed", resource=changed, before=before)

    @Asking
    def delete(
        self, name: Named, *, if_match: int | None = None, dry_run: bool = False
    ) -> Call[_R]:
        """Remove a resource and return it.

        :param if_match: as of :meth:`replace`
        :raises ResourceNotFound: there is none
        """
        query, headers = _dry(dry_run), _matching(if_match)
        return (yield from self._one("DELETE", name, query=query, headers=headers))

    @Asking
    def history(self, name: Named) -> Call[Sequence[Revision[_R]]]:
        """Return what became of a resource, change by change, oldest first.

        :raises ResourceNotFound: there never was one
        """
        shape = Revision[self.model]  # type: ignore[name-defined]  # known at run time
        request = Request("GET", path(self.model.collection, name, "history"))
        return read_list(shape, (yield from about(self.kind, name, _answer(request))))

    @Asking
    def rollback(self, name: Named, *, to: int | None = None) -> Call[_R]:
        """Store a resource as it was, as a new change, and return it.

        :param to: a generation; absent, the one before the last change
        :raises ResourceNotFound: there is no such resource
        """
        return (yield from self._one("POST", name, "rollback", query={"to": to}))

    @Iterating
    def watch(
        self,
        name: Named | None = None,
        *,
        opened: Callable[[], object] | None = None,
        away: float | None = AWAY_SECONDS,
    ) -> Items[Event]:
        """Yield what happens to the resources from now on, or to one of them.

        :param opened: called when the connection was made, and when it was made anew; what is
            looked up from then on misses nothing
        :param away: how many seconds the server may be away before that is an error; ``None`` for
            as long as it takes
        """
        collection = f"/{self.model.collection}/"
        where = collection if name is None else path(self.model.collection, name)
        request = Request("GET", where, query={"watch": "true"}, kind=self.kind)
        return followed(request, None, away, opened=opened)

    def _create(self, resource: Given, dry_run: bool) -> Call[_R]:
        request = Request(
            "POST",
            f"/{self.model.collection}/",
            body=_data(resource),
            query={"fieldValidation": "Strict", **_dry(dry_run)},
            kind=self.kind,
        )
        return read(self.model, (yield request))

    def _replace(
        self, name: Named, resource: Given, if_match: int | None, dry_run: bool
    ) -> Call[_R]:
        return self._one(
            "PUT",
            name,
            body=_data(resource),
            query={"fieldValidation": "Strict", **_dry(dry_run)},
            headers=_matching(if_match),
        )

    def _one(self, method: str, name: Named, *parts: str, **facts: Any) -> Call[_R]:
        where = path(self.model.collection, name, *parts)
        request = Request(method, where, kind=self.kind, **facts)
        return read(self.model, (yield from about(self.kind, name, _answer(request))))


def _answer(request: Request) -> Call[Any]:
    return (yield request)


def _data(resource: Given) -> Mapping[str, Any]:
    return resource.model_dump(mode="json") if isinstance(resource, Resource) else resource


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _matching(generation: int | None) -> dict[str, str]:
    return {} if generation is None else {"If-Match": f'"{generation}"'}


def _same(wanted: Resource, stored: Resource) -> bool:
    """Tell whether there is nothing to change; annotations of the server's own do not count."""
    notes = {
        key: value
        for key, value in stored.metadata.annotations.items()
        if not key.startswith(SERVER_ANNOTATIONS) or key in wanted.metadata.annotations
    }
    return (wanted.spec, wanted.metadata.annotations) == (stored.spec, notes)
