"""The walk: apply, store, fire, run, publish. Decides; the interfaces around it only ask."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from flowdapt import events
from flowdapt.errors import (
    Draining,
    FlowdaptError,
    InvalidResource,
    ResourceChanged,
    ResourceExists,
    ResourceNotFound,
    RunCancelled,
    TargetNotFound,
)
from flowdapt.events import Event, Events
from flowdapt.executors import Executor, Host, Outcome, Progress
from flowdapt.payloads import to_json
from flowdapt.resources import KINDS, Config, Resource, Workflow, merged_data, now
from flowdapt.runs import Failure, Run, RunState, StageRecord, named_values
from flowdapt.snapshots import Snapshots
from flowdapt.storage import Document, LogBlock, RunQuery, Storage, StoredRun
from flowdapt.walks import Seal, Type, Walk, failure_of

logger = logging.getLogger(__name__)

LOOKUP_SECONDS = 10.0  #: how long applying a workflow waits for its targets to be imported
SERVER_STOPPED = Failure(
    type="ServerStopped", message="the server stopped while this run was in progress"
)
RETRY_SECONDS = 0.2  #: pause before the final state of a run is tried to be stored once more

_Kind = TypeVar("_Kind", bound=Resource)
Verdict = Literal["created", "changed", "unchanged"]


def identifier(text: str) -> str | UUID:
    """Return a uid where ``text`` is one, in any case and with or without dashes, else the name."""
    if re.fullmatch(r"(?i)[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        return UUID(text)
    return text


class Engine:
    """Keeps resources, starts runs and sees them through.

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
        self.storage, self.executor = storage, executor
        self.kinds, self.types = kinds, types
        self.namespace, self.keep_runs, self.log_limit = namespace, keep_runs, log_limit
        self.events = Events()
        self.seal: Seal | None = None  #: to be set where a plugin keeps secrets
        self.draining = self._stopping = False
        self.snapshots: Snapshots = host.snapshots
        self._host = host
        self._beginning: set[asyncio.Task[None]] = set()
        self._walks: dict[UUID, Walk] = {}
        self._ends: dict[UUID, asyncio.Task[StoredRun]] = {}
        self._known: dict[str, dict[str, Resource]] = {}
        self._changes = 0  # how often stored resources changed
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Start the executor, and end the runs that an earlier server left behind."""
        await self._end_abandoned()
        host = replace(self._host, on_progress=self._on_progress, on_log=self._on_log)
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
            await self.storage.save_run(run, was=stored.run.state, result=_said(SERVER_STOPPED))

    # Resources -------------------------------------------------------------------------------

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
        """Return a kind's resources by name; they are read once and after each change."""
        key = _kind(kind)
        if key not in self._known:
            changes = self._changes
            documents = await self.storage.list(key)
            read = [kind.parse(d, where=f"stored {key}") for d in documents]
            found = {resource.name: resource for resource in read}
            if changes != self._changes:  # meanwhile, so this may be what was there before
                return found
            self._known[key] = dict(found)
        return self._known[key]  # type: ignore[return-value]  # filled from the same kind above

    def _forget(self, kind: type[Resource]) -> None:
        self._known.pop(_kind(kind), None)
        self._changes += 1

    async def create(
        self, kind: type[_Kind], data: object, *, strict: bool = False, where: str = "request body"
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
        await self._check(resource, where)
        async with self._writing:
            await self.storage.create(_document(resource, where))
            self._forget(kind)
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
    ) -> _Kind:
        """Check a resource and store it in place of another; it may have a new name.

        :param expected: the generation that is being replaced; absent, whichever there is
        :raises InvalidResource: with the paths of the faults; nothing was stored
        :raises ResourceNotFound: there is none to replace
        :raises ResourceChanged: its generation is not ``expected``; nothing was stored
        """
        await self.get(kind, name)
        resource = kind.parse(data, where=where, strict=strict)
        await self._check(resource, where)
        async with self._writing:
            old = await self.get(kind, name)
            generation = old.metadata.generation
            if expected is not None and expected != generation:
                raise ResourceChanged(_kind(kind), old.name, expected, generation)
            resource = resource.noting(
                uid=old.metadata.uid,
                created_at=old.metadata.created_at,
                updated_at=now(),
                generation=generation + 1,
                annotations={**old.server_annotations, **resource.metadata.annotations},
            )
            await self.storage.replace(_document(resource, where), expected=generation)
            self._forget(kind)
        return resource

    async def apply(
        self, data: Document, *, strict: bool = True, where: str = "resource"
    ) -> tuple[Resource, Verdict]:
        """Create a resource, or replace the one of its kind that has its name if it differs."""
        kind = self.model(str(data.get("kind")))
        wanted = kind.parse(data, where=where, strict=strict)
        try:
            present = await self.get(kind, wanted.name)
        except ResourceNotFound:
            with suppress(ResourceExists):  # somebody else was quicker, so it is a change
                return await self.create(kind, data, strict=strict, where=where), "created"
            present = await self.get(kind, wanted.name)
        notes = {**present.server_annotations, **wanted.metadata.annotations}
        if wanted.spec == present.spec and notes == present.metadata.annotations:
            return present, "unchanged"
        changed = await self.replace(kind, wanted.name, data, strict=strict, where=where)
        return changed, "changed"

    async def delete(self, kind: type[_Kind], name: str | UUID) -> _Kind:
        """Remove a resource and return it; runs of a workflow stay.

        :raises ResourceNotFound: there is none
        """
        async with self._writing:
            resource = await self.get(kind, name)
            await self.storage.delete(_kind(kind), resource.metadata.uid)
            self._forget(kind)
        return resource

    async def _check(self, resource: Resource, where: str) -> None:
        """Refuse what the model alone cannot: unknown stage types, mistyped targets."""
        if not isinstance(resource, Workflow):
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
    ) -> Run:
        """Accept a run of a stored workflow, store it, and start it.

        :param input: an object of named values; absent means none
        :raises ResourceNotFound: there is no such workflow
        :raises InvalidInput: the input is no object
        :raises Draining: no runs are accepted at present
        """
        if self.draining:
            raise Draining()
        workflow = await self.get(Workflow, name)
        config = merged_data(await self.list(Config), workflow)
        return await self.begin(workflow, input, config=config, namespace=namespace, source=source)

    async def begin(
        self,
        workflow: Workflow,
        input: object = None,  # noqa: A002
        *,
        config: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        source: str = "manual",
    ) -> Run:
        """Do what :meth:`submit` does, with a workflow and a config that need not be stored."""
        if self.draining:
            raise Draining()
        run = Run(
            workflow=workflow.name,
            workflow_uid=workflow.metadata.uid,
            namespace=namespace or self.namespace,
            source=source,
            input=named_values(input),
            config=dict(config or {}),
            code=self.snapshots.take(),
        ).to(RunState.RUNNING)
        parts = self.storage, self.executor, self.types
        walk = Walk(run, workflow, *parts, changed=self._on_stage, log_limit=self.log_limit)
        walk.seal = self.seal
        # A task of its own: what is stored is begun too, even if whoever asked for it has gone.
        beginning = asyncio.create_task(self._begin(walk), name=f"{run.name}/begin")
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        await asyncio.shield(beginning)
        return run

    async def _begin(self, walk: Walk) -> None:
        await self.storage.add_run(walk.run)
        uid, name = walk.run.uid, walk.run.name
        self._walks[uid] = walk
        self._publish(events.RUN_STARTED, walk.seen())
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
                logger.exception("run %s ended by a fault of flowdapt itself", walk.run.name)
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
        try:
            await self.storage.save_run(walk.run, was=was, result=text, last=walk.last)
        except ResourceNotFound:
            logger.info("run %s was deleted while it was in progress", walk.run.name)
        except FlowdaptError as error:
            # Such as a full disk. The result may have been too much for it; the end is not.
            logger.exception("the end of run %s could not be stored; once more", walk.run.name)
            await asyncio.sleep(RETRY_SECONDS)
            failure = failure_of(error)
            walk.run, text = open_run.to(RunState.FAILED, failure=failure), _said(failure)
            await self.storage.save_run(walk.run, was=was, result=text, last=walk.last)
        if not self.keep_runs:
            await self.storage.delete_run(walk.run.uid)
        walk.tell_last()
        seen = walk.seen(text)
        self._publish(events.RUN_FINISHED, seen)
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
        run = await self._find(name)
        if (walk := self._walks.get(run.uid)) is not None:
            return list(walk.records.values())
        return await self.storage.list_stages(run.uid)

    async def read_log(
        self, name: str | UUID, *, after: int = 0, limit: int = 100
    ) -> Mapping[int, LogBlock]:
        """Return blocks of a run's log, each under its position.

        :raises ResourceNotFound: there is no such run
        """
        run = await self._find(name)
        return await self.storage.read_log(run.uid, after=after, limit=limit)

    async def _find(self, name: str | UUID) -> Run:
        return await self.storage.find_run(identifier(name) if isinstance(name, str) else name)

    async def cancel(self, name: str | UUID) -> StoredRun:
        """Stop a run, and return it once it has ended; a run that has ended stays as it is.

        :raises ResourceNotFound: there is none
        """
        run = await self._find(name)
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

    async def expire_runs(self, seconds: float, *, limit: int = 500) -> int:
        """Remove runs that ended more than ``seconds`` ago; return how many, at most ``limit``."""
        expired = await self.storage.expired_runs(seconds, limit=limit)
        for uid in expired:
            with suppress(ResourceNotFound):  # somebody deleted it meanwhile
                await self.storage.delete_run(uid)
        return len(expired)

    # What is told ----------------------------------------------------------------------------

    def _on_progress(self, progress: Progress) -> None:
        if (walk := self._walks.get(progress.run)) is not None:
            walk.on_progress(progress)

    def _on_log(self, run: UUID, block: LogBlock) -> None:
        if (walk := self._walks.get(run)) is not None:
            walk.on_log(block)

    def _on_stage(self, run: UUID, record: StageRecord) -> None:
        if self.events.heard(events.STAGE_CHANGED):
            data = {"run": str(run), **record.model_dump(mode="json")}
            self.events.publish(Event(type=events.STAGE_CHANGED, data=data))

    def _publish(self, what: str, stored: StoredRun) -> None:
        if self.events.heard(what):
            self.events.publish(Event(type=what, data=stored))


def _kind(model: type[Resource]) -> str:
    return str(model.model_fields["kind"].default)


def _document(resource: Resource, where: str) -> Document:
    try:
        return resource.model_dump(mode="json")
    except ValueError as error:  # such as a function, or lists in lists without end
        raise InvalidResource.at(where, (), f"cannot be stored as JSON: {error}") from None


def _said(failure: Failure) -> bytes:
    """Return the result of a failed run, as the contract has it."""
    return to_json([failure.type, failure.message])
