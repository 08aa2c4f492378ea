"""Routes over runs: starting them, finding them, and ending them."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from flowdapt.storage import StoredRun
from flowdapt_rest import bodies, idempotency, query, render, shapes
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.retries import retry
from flowdapt_rest.roles import Role, actor
from flowdapt_rest.versions import V1, Schema

if TYPE_CHECKING:
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

    def routes(self) -> list[Operation]:
        """Return the routes, to stand before those over workflows."""
        reading = partial(Operation, kind=KIND, reply=shapes.run)
        operating = partial(reading, role=Role.OPERATE)
        return [
            operating(
                f"POST {OF_WORKFLOW}",
                self.start,
                name="run_workflow",
                query=[WAIT, NAMESPACE],
                body=dict[str, Any],
                optional=True,
                idempotent=True,
            ),
            reading(f"GET {ONE}", self.get, name="get_workflow_run"),
            operating(f"DELETE {ONE}", self.delete, name="delete_workflow_run"),
            operating(f"POST {ONE}/cancel", self.cancel, name="cancel_run"),
            operating(
                f"POST {ONE}/retry",
                self.retry,
                name="retry_run",
                versions=[V1],
                query=[ITEMS, WAIT],
                refusals=[409],
            ),
        ]

    async def start(self, request: Request) -> Response:
        """Start a run and return it: once it has ended, or as it begins where ``wait`` is false.

        With the `Idempotency-Key` of an earlier start, it returns that run, as long as it is kept.
        """
        schema = negotiated(request)
        wait = WAIT.of(request)
        name, namespace = _name(request), NAMESPACE.of(request)
        given = await bodies.read_input(request)
        key, by = idempotency.key_of(request), actor(request)
        run, new = await idempotency.submitted(
            self.engine, name, given, key=key, namespace=namespace, by=by
        )
        if wait or new:
            return await self._begun(request, run, schema, wait=wait)
        return _reply(schema, await self.engine.get_run(run.uid))

    async def retry(self, request: Request) -> Response:
        """Start a run like one that has ended, with the same input, and return it as `run` does."""
        schema = negotiated(request)
        wait, failed = WAIT.of(request), ITEMS.of(request) is Items.FAILED
        by = actor(request)
        run = await retry(self.engine, _name(request), failed_items=failed, by=by)
        return await self._begun(request, run, schema, wait=wait)

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


def _name(request: Request) -> str:
    return str(request.path_params["identifier"])


def _reply(schema: Schema, run: StoredRun) -> Response:
    return schema.reply(render.run(run, schema.version))
