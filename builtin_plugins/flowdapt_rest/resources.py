"""Routes over resources, written once for every kind, the kernel's and those of plugins."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import orjson

from flowdapt.errors import ResourceChanged
from flowdapt.events import RESOURCES
from flowdapt_rest import bodies, changes, query, render, resource_lists, shapes, sse
from flowdapt_rest.changes import DRY_RUN, FIELDS, FieldValidation
from flowdapt_rest.entries import Filter
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.revisions import Revisions
from flowdapt_rest.roles import actor
from flowdapt_rest.versions import V1, V1ALPHA1

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine
    from flowdapt.resources import Resource
    from flowdapt_rest.hub import Hub
    from flowdapt_rest.versions import Schema

WATCH = Query(
    "watch",
    query.boolean,
    "Answer with a stream of events that tell of changes from now on, or from `Last-Event-ID` on. "
    "Who opens it before reading what there is misses nothing.",
    default=False,
)
TO = Query("to", query.position, "A generation; absent, the one before the last change.")


class ResourceRoutes:
    """The routes of one kind."""

    def __init__(self, engine: Engine, kind: str, model: type[Resource], hub: Hub) -> None:
        self.engine, self.kind, self.model, self.hub = engine, kind, model, hub
        self.revisions = Revisions(engine, model)

    def routes(self) -> list[Operation]:
        """Return the routes, each named as the operation that it is."""
        plural = self.model.collection
        single = plural.removesuffix("s")
        collection, one = f"/{plural}/", f"/{plural}/{{identifier}}"
        reading = partial(Operation, kind=self.kind, reply=partial(shapes.resource, self.model))
        writing = partial(reading, query=[FIELDS, DRY_RUN], body=shapes.given(self.model))
        listing = partial(Operation, kind=self.kind, reply=partial(shapes.resources, self.model))
        return [
            reading(
                f"GET {one}",
                self.get,
                name=f"get_{single}",
                stream=shapes.EventV1,
                query=[WATCH],
            ),
            listing(
                f"GET {collection}",
                self.list,
                name=f"list_{plural}",
                stream=shapes.EventV1,
                query=[*resource_lists.CHOICE, WATCH],
                refusals=[404],  # of a cursor
            ),
            writing(f"POST {collection}", self.create, name=f"create_{single}"),
            writing(f"PUT {one}", self.replace, name=f"update_{single}", if_match=True),
            reading(
                f"DELETE {one}",
                self.delete,
                name=f"delete_{single}",
                query=[DRY_RUN],
                if_match=True,
            ),
            Operation(
                f"GET {one}/history",
                self.history,
                name=f"list_{single}_history",
                kind="revision",
                versions=[V1],
                reply=shapes.always(list[shapes.Revision]),
            ),
            reading(f"POST {one}/rollback", self.roll_back, name=f"rollback_{single}", query=[TO]),
        ]

    async def list(self, request: Request) -> Response:
        """Return resources of the kind; all in the order of their creation, if not asked else."""
        schema = negotiated(request)
        after = sse.resumed(request)
        if WATCH.of(request) and request.method == "GET":
            return self._watch(Filter(channels=(RESOURCES,), kind=self.kind), after)
        every = await self.engine.list(self.model)
        found, headers = resource_lists.chosen(request, every, self.kind)
        return schema.reply(render.resources(found, schema.version), headers=headers)

    async def get(self, request: Request) -> Response:
        """Return one resource."""
        schema = negotiated(request)
        after = sse.resumed(request)
        resource = await self.engine.get(self.model, _name(request))
        if WATCH.of(request) and request.method == "GET":
            subject = f"{self.kind}/{resource.metadata.uid}"
            return self._watch(Filter(channels=(RESOURCES,), subject=subject), after)
        return _reply(schema, resource)

    async def create(self, request: Request) -> Response:
        """Store a new resource and return it."""
        schema = negotiated(request)
        policy = FIELDS.of(request)
        data = changes.of_client(await bodies.read_object(request))
        resource = await self.engine.create(
            self.model,
            data,
            strict=policy is FieldValidation.STRICT,
            by=actor(request),
            dry_run=changes.dry_run(request),
        )
        return _reply(schema, resource, changes.warnings(self.model, data, policy))

    async def replace(self, request: Request) -> Response:
        """Store a resource in place of one that there is, and return it."""
        schema = negotiated(request)
        policy, name = FIELDS.of(request), _name(request)
        expected = changes.expected(request)
        data = changes.of_client(await bodies.read_object(request))
        if schema.version == V1ALPHA1 and hasattr(self.model, "changed_in_v1alpha1"):
            data = (await self.engine.get(self.model, name)).changed_in_v1alpha1(data)
        try:
            resource = await self.engine.replace(
                self.model,
                name,
                data,
                expected=expected,
                strict=policy is FieldValidation.STRICT,
                by=actor(request),
                dry_run=changes.dry_run(request),
            )
        except ResourceChanged as error:
            await self.revisions.explain(error, name)
            raise
        return _reply(schema, resource, changes.warnings(self.model, data, policy))

    async def delete(self, request: Request) -> Response:
        """Remove a resource and return it."""
        schema = negotiated(request)
        name, expected = _name(request), changes.expected(request)
        by, dry_run = actor(request), changes.dry_run(request)
        try:
            resource = await self.engine.delete(
                self.model, name, expected=expected, by=by, dry_run=dry_run
            )
        except ResourceChanged as error:
            await self.revisions.explain(error, name)
            raise
        return _reply(schema, resource)

    async def history(self, request: Request) -> Response:
        """Return the revisions of a resource, oldest first; of one that was deleted, too."""
        schema = negotiated(request)
        return schema.reply(orjson.dumps(await self.revisions.of(_name(request))))

    async def roll_back(self, request: Request) -> Response:
        """Make a resource again what it was, and return it; one that was deleted comes back."""
        schema = negotiated(request)
        return _reply(
            schema, await self.revisions.restore(_name(request), TO.of(request), by=actor(request))
        )

    def _watch(self, wanted: Filter, after: int | None) -> Response:
        return sse.EventStream(self.hub.follow(wanted, after))


def _name(request: Request) -> str:
    return str(request.path_params["identifier"])


def _reply(schema: Schema, resource: Resource, headers: Iterable[tuple[str, str]] = ()) -> Response:
    body = render.resource(resource, schema.version)
    return schema.reply(body, headers=[changes.etag(resource), *headers])
