"""Routes over runs: starting them, finding them, and ending them."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flowdapt.storage import StoredRun
from flowdapt_rest import bodies, idempotency, query, render, run_shapes
from flowdapt_rest.forms import Form, form_of
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.retries import retry
from flowdapt_rest.roles import Role, actor
from flowdapt_rest.streams import Streams
from flowdapt_rest.versions import V1, Schema

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine
    from flowdapt.runs import Run
    from flowdapt_rest.waits import Waits

KIND = "workflow_run"
# A workflow may be called `run`. Its runs are at `/workflows/run/run`, which would also be a run
# called `run`; no run is, because names of runs are made up by the server.
OF_WORKFLOW, ONE = "/workflows/{identifier}/run", "/workflows/run/{identifier}"


class Items(StrEnum):
    """Which elements of parameterized stages a retry computes."""

    ALL = "all"  #: the whole run
    FAILED = "failed"  #: those that failed, and what depends on them


WAIT = Query("wait", query.boolean, "Answer once the run has ended.", default=True)
CANCEL = Query(
    "cancel_on_disconnect",
    query.boolean,
    "Of a stream: stop the run if the caller goes away before it has ended; else it goes on.",
    default=False,
)
NAMESPACE = Query("namespace", query.text, "Of the run; absent, as the settings say.")
ITEMS = Query(
    "items",
    query.word,
    "`all` repeats the whole run; `failed` computes only the elements that failed, and what "
    "depends on them.",
    default=Items.ALL,
)


class RunRoutes:
    """Starting, finding, following and ending runs."""

    def __init__(self, engine: Engine, waits: Waits) -> None:
        self.engine, self.waits = engine, waits
        self.streams = Streams(engine, waits)

    def routes(self) -> list[Operation]:
        """Return the routes, to stand before those over workflows."""
        reading = partial(Operation, kind=KIND, reply=run_shapes.run)
        operating = partial(reading, role=Role.OPERATE)
        return [
            operating(
                f"POST {OF_WORKFLOW}",
                self.start,
                name="run_workflow",
                query=[WAIT, CANCEL, NAMESPACE],
                body=dict[str, Any],
                optional=True,
                idempotent=True,
                items=True,
            ),
            reading(f"GET {ONE}", self.get, name="get_workflow_run"),
            operating(f"DELETE {ONE}", self.delete, name="delete_workflow_run"),
            operating(f"POST {ONE}/cancel", self.cancel, name="cancel_run"),
            operating(
                f"POST {ONE}/retry",
                self.retry,
                name="retry_run",
                versions=[V1],
                query=[ITEMS, WAIT, CANCEL],
                items=True,
                refusals=[409],
            ),
        ]

    async def start(self, request: Request) -> Response:
        """Start a run and return it: once it has ended, or as it begins where ``wait`` is false.

        With the `Idempotency-Key` of an earlier start, it returns that run, as long as it is kept.

        Where it waits, and `Accept` names `text/event-stream` or `application/x-ndjson`, the items
        of the run are told as they are yielded: those of its result if that is a list, else the
        result as the only one. As events they are named `item`; `restart` says that all so far are
        void, as their stage begins anew; and `end` says how the run ended. Where `error` comes
        instead, it goes on without this caller. A line of JSON is an object with one of these as
        its only key, or with none at all, which shows that the connection is alive.
        """
        schema = negotiated(request)
        wait, form, cancel = WAIT.of(request), _form(request), CANCEL.of(request)
        name, namespace = _name(request), NAMESPACE.of(request)
        given = await bodies.read_input(request)
        key, by = idempotency.key_of(request), actor(request)
        uid = await idempotency.uid_of(self.engine, name, key=key, namespace=namespace)
        begin = partial(
            idempotency.submitted,
            self.engine,
            name,
            given,
            uid=uid,
            key=key,
            namespace=namespace,
            by=by,
        )
        if form is not None:
            keyed = key is not None
            return await self._streamed(request, form, uid, begin, cancel=cancel, keyed=keyed)
        run, new = await begin()
        if wait or new:
            return await self._begun(request, run, schema, wait=wait)
        return _reply(schema, await self.engine.get_run(run.uid))

    async def retry(self, request: Request) -> Response:
        """Start a run like one that has ended, with the same input, and return it as `run` does."""
        schema = negotiated(request)
        wait, form, cancel = WAIT.of(request), _form(request), CANCEL.of(request)
        failed, by, uid = ITEMS.of(request) is Items.FAILED, actor(request), uuid4()
        begin = partial(retry, self.engine, _name(request), failed_items=failed, by=by, uid=uid)
        if form is not None:
            return await self._streamed(request, form, uid, begin, cancel=cancel)
        return await self._begun(request, await begin(), schema, wait=wait)

    async def _streamed(
        self,
        request: Request,
        form: Form,
        uid: UUID,
        begin: Callable[[], Awaitable[Run | tuple[Run, bool]]],
        *,
        cancel: bool,
        keyed: bool = False,
    ) -> Response:
        """Answer with the items of a run, none of which is missed as it begins only now.

        :param keyed: it may be asked for once more
        """
        with self.streams.feeds.opening(uid) as feed:
            begun = await begin()
            await request.state.settled(200)
            run, new = begun if isinstance(begun, tuple) else (begun, True)
            if keyed:
                self.streams.share(run, feed, new=new)
            return self.streams.reply(run, feed, form, cancel=cancel)

    async def _begun(self, request: Request, run: Run, schema: Schema, *, wait: bool) -> Response:
        if not wait:
            return _reply(schema, StoredRun(run))
        await request.state.settled(200)
        ended = self.waits.until(self.engine.wait(run.uid), called=f"run {run.name!r}")
        return _reply(schema, await ended)

    async def get(self, request: Request) -> Response:
        """Return one run with its result."""
        schema = negotiated(request)
        return _reply(schema, await self.engine.get_run(_name(request)))

    async def delete(self, request: Request) -> Response:
        """Remove a run and return it; one in progress is cancelled first."""
        schema = negotiated(request)
        return _reply(schema, await self.engine.delete_run(_name(request)))

    async def cancel(self, request: Request) -> Response:
        """Stop a run, and return it once it has ended; one that has ended stays as it is."""
        schema = negotiated(request)
        name = _name(request)
        ended = self.waits.until(self.engine.cancel(name), called=f"run {name!r}")
        return _reply(schema, await ended)


def _form(request: Request) -> Form | None:
    """Return the form in which a caller who waits wants the items of a run."""
    return form_of(request.headers.get("accept", "")) if WAIT.of(request) else None


def _name(request: Request) -> str:
    return str(request.path_params["identifier"])


def _reply(schema: Schema, run: StoredRun) -> Response:
    return schema.reply(render.run(run, schema.version))
