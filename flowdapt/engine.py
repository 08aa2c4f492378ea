"""The walk: apply, store, fire, run, publish. Decides; the interfaces around it only ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from flowdapt import events
from flowdapt.catalog import Catalog, identifier
from flowdapt.errors import (
    Draining,
    FlowdaptError,
    InvalidResource,
    ResourceNotFound,
    RunCancelled,
    TargetNotFound,
)
from flowdapt.events import ACTOR, Event
from flowdapt.executors import Executor, Host, Outcome, Progress
from flowdapt.payloads import to_json
from flowdapt.resources import KINDS, Config, Resource, Workflow, merged_data
from flowdapt.runs import Failure, Run, RunState, StageRecord, named_values
from flowdapt.snapshots import Snapshots
from flowdapt.storage import LogBlock, RunQuery, Storage, StoredRun
from flowdapt.walks import Seal, Type, Walk, failure_of

logger = logging.getLogger(__name__)

LOOKUP_SECONDS = 10.0  #: how long applying a workflow waits for its targets to be imported
SERVER_STOPPED = Failure(
    type="ServerStopped", message="the server stopped while this run was in progress"
)
RETRY_SECONDS = 0.2  #: pause before the final state of a run is tried to be stored once more


class Engine(Catalog):
    """Keeps resources, starts runs of the workflows among them, and sees these through.

    :param storage: where resources and runs are kept; started and stopped by the caller
    :param executor: where stages are computed; started and stopped by the engine
    :param host: what the executor is told; the engine adds what it wants to hear
    :param kinds: models of resources by kind
    :param types: stage types by the names that stages use
    :param namespace: of runs that name none
    :param keep_runs: whether runs stay stored once they ended
    :param log_limit: bytes of log that are kept for a run
    """

    def __init__(
        self,
        storage: Storage,
        executor: Executor,
        host: Host,
        *,
        types: Mapping[str, Type],
        kinds: Mapping[str, type[Resource]] = KINDS,
        namespace: str = "default",
        keep_runs: bool = True,
        log_limit: int = 16 * 1024 * 1024,
    ) -> None:
        super().__init__(storage, kinds)
        self.executor, self.types = executor, types
        self.namespace, self.keep_runs, self.log_limit = namespace, keep_runs, log_limit
        self.seal: Seal | None = None  #: to be set where a plugin keeps secrets
        self.draining = self._stopping = False
        self.snapshots: Snapshots = host.snapshots
        self._host = host
        self._beginning: set[asyncio.Task[None]] = set()
        self._walks: dict[UUID, Walk] = {}
        self._ends: dict[UUID, asyncio.Task[StoredRun]] = {}

    async def start(self) -> None:
        """Start the executor, and end the runs that an earlier server left behind."""
        await self._end_abandoned()
        host = replace(
            self._host, on_progress=self._on_progress, on_log=self._on_log, on_item=self._on_item
        )
        await self.executor.start(host)

    async def stop(self) -> None:
        """Cancel what runs, and stop the executor."""
        self.draining = self._stopping = True
        await asyncio.gather(*self._beginning, return_exceptions=True)
        for walk in self._walks.values():
            walk.cancel()
        await asyncio.gather(*self._ends.values(), return_exceptions=True)
        await self.executor.stop()

    async def drained(self) -> None:
        """Wait until no run is in progress."""
        while self._ends:
            await asyncio.wait(list(self._ends.values()))

    async def _end_abandoned(self) -> None:
        """Fail runs that were in progress when the last server ended without ending them."""
        states = (RunState.PENDING, RunState.RUNNING)
        for stored in await self.storage.list_runs(RunQuery(states=states)):
            run = stored.run.to(RunState.FAILED, failure=SERVER_STOPPED)
            text = _said(SERVER_STOPPED)
            event = _told(events.RUN_FINISHED, StoredRun(run, text, len(text)))
            await self.storage.save_run(run, was=stored.run.state, result=text, events=[event])
            self.events.publish(event)

    async def check(self, resource: Resource, where: str) -> None:
        """Refuse unknown stage types, mistyped targets."""
        if not isinstance(resource, Workflow):
            await super().check(resource, where)
            return
        for i, stage in enumerate(resource.spec.stages):
            if stage.type not in self.types:
                known = ", ".join(map(repr, self.types))
                problem = f"{stage.type!r} is no stage type; there are {known}"
                raise InvalidResource.at(where, ("spec", "stages", i, "type"), problem)
        targets = {s.target: i for i, s in enumerate(resource.spec.stages) if s.type in self.types}
        try:
            wrong = await asyncio.wait_for(
                self.executor.lookup(list(targets), code=self.snapshots.take()), LOOKUP_SECONDS
            )
        except (TimeoutError, FlowdaptError) as error:
            logger.warning("the targets of %r were not looked up: %r", resource.name, error)
            return
        for target, fault in wrong.items():
            # A module that is missing may be installed before the run; a missing name is a typo.
            if isinstance(fault, TargetNotFound) and fault.mistyped:
                path = ("spec", "stages", targets[target], "target")
                raise InvalidResource.at(where, path, str(fault))

    # Runs ------------------------------------------------------------------------------------

    async def submit(
        self,
        name: str | UUID,
        input: object = None,  # noqa: A002 - the word that users and the contract know
        *,
        namespace: str | None = None,
        source: str = "api",
        by: str = "",
        told: Sequence[Event] = (),
        **facts: Any,
    ) -> Run:
        """Accept a run of a stored workflow, store it, and start it.

        :param input: an object of named values; absent means none
        :param by: who asked for it
        :param told: what is to be told, and stored with the run or not at all
        :param facts: further ones of the :class:`Run`
        :raises ResourceNotFound: there is no such workflow
        :raises InvalidInput: the input is no object
        :raises Draining: no runs are accepted at present
        :raises ResourceExists: a run has the ``uid`` that is among the facts; none was started
        """
        if self.draining:
            raise Draining()
        workflow = await self.get(Workflow, name)
        facts |= {"namespace": namespace or self.namespace, "source": source}
        facts["config"] = merged_data(await self.list(Config), workflow)
        return await self.begin(workflow, input, by=by, told=told, **facts)

    async def begin(
        self,
        workflow: Workflow,
        input: object = None,  # noqa: A002
        *,
        by: str = "",
        told: Sequence[Event] = (),
        **facts: Any,
    ) -> Run:
        """Do what :meth:`submit` does, with a workflow and a config that need not be stored."""
        if self.draining:
            raise Draining()
        names = {"workflow": workflow.name, "workflow_uid": workflow.metadata.uid}
        given = named_values(input)
        namespace = facts.get("namespace", self.namespace)
        facts["plugin_set"] = self.snapshots.plugins(namespace).id
        code = self.snapshots.take(namespace)
        run = Run(**names, **facts, input=given, code=code).to(RunState.RUNNING)
        parts = self.storage, self.executor, self.types
        walk = Walk(run, workflow, *parts, events=self.events, log_limit=self.log_limit)
        walk.seal, walk.places = self.seal, self._host.places
        # A task of its own: what is stored is begun too, even if whoever asked for it has gone.
        beginning = asyncio.create_task(self._begin(walk, by, told), name=f"{run.name}/begin")
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        await asyncio.shield(beginning)
        return run

    async def _begin(self, walk: Walk, by: str, told: Sequence[Event]) -> None:
        told = [_told(events.RUN_STARTED, walk.seen(), by), *told]
        await self.storage.add_run(walk.run, events=told)
        uid, name = walk.run.uid, walk.run.name
        self._walks[uid] = walk
        for event in told:
            self.events.publish(event)
        end = self._see_through(walk, walk.begin())
        self._ends[uid] = asyncio.create_task(end, name=f"{name}/end")

    async def wait(self, run: UUID) -> StoredRun:
        """Return a run once it has ended. Cancelling the wait does not stop the run."""
        end = self._ends.get(run)
        return await (self.storage.get_run(run) if end is None else asyncio.shield(end))

    async def _see_through(self, walk: Walk, computing: asyncio.Task[Outcome]) -> StoredRun:
        """Wait until a run is computed, store how it ended, and tell. Is never cancelled."""
        uid, result = walk.run.uid, None
        try:
            result = (await computing).json
            end, failure = RunState.FINISHED, None
        except (asyncio.CancelledError, RunCancelled):
            await self.executor.cancel(uid)
            end, failure = RunState.CANCELLED, failure_of(RunCancelled())
            if self._stopping:
                end, failure = RunState.FAILED, SERVER_STOPPED
        except Exception as error:
            end, failure = RunState.FAILED, failure_of(error)
            if not isinstance(error, FlowdaptError):
                walk.log.exception("run %s ended by a fault of flowdapt itself", walk.run.name)
        try:
            await walk.settle()
            return await self._end(walk, end, failure, result)
        finally:
            await self.executor.release(uid)
            self._walks.pop(uid, None)
            self._ends.pop(uid, None)

    async def _end(
        self,
        walk: Walk,
        state: RunState,
        failure: Failure | None,
        result: bytes | memoryview | None,
    ) -> StoredRun:
        was, open_run = walk.run.state, walk.run
        walk.run = open_run.to(state, failure=failure)
        text = _said(failure) if failure is not None else result
        seen = walk.seen(text)
        told = [*walk.last_told, _told(events.RUN_FINISHED, seen)]
        try:
            await self.storage.save_run(walk.run, was=was, result=text, last=walk.last, events=told)
        except ResourceNotFound:
            walk.log.info("run %s was deleted while it was in progress", walk.run.name)
        except FlowdaptError as error:
            # Such as a full disk. The result may have been too much for it; the end is not.
            walk.log.exception("the end of run %s could not be stored; once more", walk.run.name)
            await asyncio.sleep(RETRY_SECONDS)
            failure = failure_of(error)
            walk.run, text = open_run.to(RunState.FAILED, failure=failure), _said(failure)
            seen = walk.seen(text)
            told = [*walk.last_told, _told(events.RUN_FINISHED, seen)]
            await self.storage.save_run(walk.run, was=was, result=text, last=walk.last, events=told)
        if not self.keep_runs:
            await self.storage.delete_run(walk.run.uid)
        walk.tell_last()
        self.events.publish(told[-1])
        return seen

    async def get_run(self, name: str | UUID) -> StoredRun:
        """Return a run by name or uid, with its result.

        :raises ResourceNotFound: there is none
        """
        return await self.storage.get_run(identifier(name) if isinstance(name, str) else name)

    async def list_runs(self, query: RunQuery) -> Sequence[StoredRun]:
        """Return runs, newest first."""
        return await self.storage.list_runs(query)

    async def stages(self, name: str | UUID) -> Sequence[StageRecord]:
        """Return how the stages of a run stand, also while they are computed.

        :raises ResourceNotFound: there is no such run
        """
        run = await self.find_run(name)
        if (walk := self._walks.get(run.uid)) is not None:
            return list(walk.records.values())
        return await self.storage.list_stages(run.uid)

    async def read_log(
        self, name: str | UUID, *, after: int = 0, limit: int = 100
    ) -> Mapping[int, LogBlock]:
        """Return blocks of a run's log, each under its position.

        :raises ResourceNotFound: there is no such run
        """
        run = await self.find_run(name)
        return await self.storage.read_log(run.uid, after=after, limit=limit)

    async def find_run(self, name: str | UUID) -> Run:
        """Return a run by name or uid.

        :raises ResourceNotFound: there is none
        """
        return await self.storage.find_run(identifier(name) if isinstance(name, str) else name)

    async def cancel(self, name: str | UUID) -> StoredRun:
        """Stop a run, and return it once it has ended; a run that has ended stays as it is.

        :raises ResourceNotFound: there is none
        """
        run = await self.find_run(name)
        if (walk := self._walks.get(run.uid)) is not None:
            walk.cancel()
        return await self.wait(run.uid)

    async def delete_run(self, name: str | UUID) -> StoredRun:
        """Remove a run and return it; one in progress is cancelled first.

        :raises ResourceNotFound: there is none
        """
        stored = await self.cancel(name)
        if self.keep_runs:
            await self.storage.delete_run(stored.run.uid)
        return stored

    # What is told ----------------------------------------------------------------------------

    def _on_progress(self, progress: Progress) -> None:
        if (walk := self._walks.get(progress.run)) is not None:
            walk.on_progress(progress)

    def _on_log(self, run: UUID, block: LogBlock) -> None:
        if (walk := self._walks.get(run)) is not None:
            walk.on_log(block)

    def _on_item(self, run: UUID, stage: str, number: int, text: bytes) -> None:
        if (walk := self._walks.get(run)) is not None:
            walk.on_item(stage, number, text)


def _told(what: str, seen: StoredRun, by: str = "") -> Event:
    """Return the event that tells how a run stands."""
    headers = {ACTOR: by} if by else {}
    return Event(
        type=what, data=seen, run=seen.run.uid, workflow=seen.run.workflow, headers=headers
    )


def _said(failure: Failure) -> bytes:
    """Return the result of a failed run, as the contract has it."""
    return to_json([failure.type, failure.message])
