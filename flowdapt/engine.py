"""The walk: apply, store, fire, run, publish. Decides; the interfaces around it only ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from flowdapt import events
from flowdapt.catalog import Catalog, identifier
from flowdapt.errors import (
    Draining,
    FlowdaptError,
    InvalidResource,
    ResourceExists,
    ResourceNotFound,
    ResultsLost,
    RunCancelled,
    StageError,
    UnlawfulTransition,
)
from flowdapt.events import ACTOR, Event
from flowdapt.executors import LOST_ATTEMPTS, Ask, Executor, Host, Outcome, Progress
from flowdapt.plugins import Plugins
from flowdapt.policies import Policy, around
from flowdapt.recovery import ServerStopped, define, earlier, recover
from flowdapt.resources import KINDS, Config, Resource, Workflow, merged_data
from flowdapt.runs import Failure, Run, RunState, StageRecord, named_values
from flowdapt.snapshots import Snapshots
from flowdapt.storage import RUN_KIND, LogBlock, RunQuery, Storage, StoredRun
from flowdapt.texts import to_json
from flowdapt.walks import Seal, Type, Walk, failure_of

logger = logging.getLogger(__name__)

RESUMED_AT_ONCE = 200  #: runs that a starting server goes on with in one turn
#: pauses, the first and the longest, before the final state of a run is tried to be stored again
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.2, 2.0


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
        #: who answers what stages ask, by kind; to be added to by plugins
        self.answers: dict[str, Callable[[Ask], Awaitable[bytes]]] = {}
        self.policies: list[Policy] = []  #: the outermost first, see :meth:`govern`
        self.draining = self._stopping = False
        self.snapshots: Snapshots = host.snapshots
        self._host = host
        self._beginning: set[asyncio.Task[None]] = set()
        self._walks: dict[UUID, Walk] = {}
        self._ends: dict[UUID, asyncio.Task[StoredRun]] = {}
        self._definitions: dict[tuple[UUID, int], str] = {}

    def govern(self, plugins: Plugins) -> None:
        """Have runs follow the policies that plugins offer; to be called before it is started."""
        offered = plugins.importable("policies", plugins.providers("policies"), what="policy")
        policies: list[Policy] = [made(self) for _, made in offered]
        self.policies = sorted(policies, key=lambda policy: policy.order)

    async def start(self) -> None:
        """Start the executor, and go on with the runs that an earlier server left unfinished."""
        host = replace(self._host, on_progress=self._on_progress, on_log=self._on_log)
        await self.executor.start(replace(host, on_item=self._on_item, on_ask=self._on_ask))
        states = (RunState.PENDING, RunState.RUNNING)
        left = await self.storage.list_runs(RunQuery(states=states, newest_first=False))
        self.snapshots.clean({stored.run.code for stored in left})
        known: dict[str, Workflow] = {}
        for first in range(0, len(left), RESUMED_AT_ONCE):  # their writes share transactions
            some = left[first : first + RESUMED_AT_ONCE]
            await asyncio.gather(*(self._resume(stored.run, known) for stored in some))
        for walk in list(self._walks.values()):  # such as those whose parent ended just before
            parent = walk.run.parent
            if parent is not None and parent not in self._walks:
                with suppress(ResourceNotFound):
                    if (await self.find_run(parent)).state is not RunState.FINISHED:
                        walk.cancel()

    async def stop(self) -> None:
        """Stop what runs, for the next server to go on with, and stop the executor."""
        self.draining = self._stopping = True
        await asyncio.gather(*self._beginning, return_exceptions=True)
        for walk in self._walks.values():
            walk.stop()
        await asyncio.gather(*self._ends.values(), return_exceptions=True)
        await self.executor.stop()

    async def drained(self) -> None:
        """Wait until no run is in progress."""
        while self._ends:
            await asyncio.wait(list(self._ends.values()))

    async def _resume(self, run: Run, known: dict[str, Workflow]) -> None:
        """Go on with a run of an earlier server, or end it where that is not possible.

        :param known: definitions, which many runs have in common
        """
        try:
            code = self.snapshots.file(run.code)
            if code is not None and not code.exists():
                raise ServerStopped(f"the source that this run began with, {code}, is gone")
            workflow, before = await recover(self.storage, run, known)
        except ServerStopped as error:
            ended = run.to(RunState.FAILED, failure=error.failure)
            text = _said(error.failure)
            event = _told(events.RUN_FINISHED, StoredRun(ended, text, len(text)))
            await self.storage.save_run(ended, was=run.state, result=text, events=[event])
        else:
            again = run.model_copy(update={"resumed": run.resumed + 1})
            event = _told(events.RUN_RESUMED, StoredRun(again))
            await self.storage.save_run(again, was=run.state, events=[event])
            walk = self._walk(again, workflow)
            walk.earlier = before
            self._go(walk)
        self.events.publish(event)

    def in_progress(self, workflow: UUID | None) -> list[UUID]:
        """Return the runs of a workflow that were accepted and have not ended, in their order."""
        return [uid for uid, walk in self._walks.items() if walk.run.workflow_uid == workflow]

    async def check(self, resource: Resource, where: str) -> None:
        """Refuse unknown stage types, and what policies refuse."""
        if not isinstance(resource, Workflow):
            await super().check(resource, where)
            return
        for i, stage in enumerate(resource.spec.stages):
            if stage.type not in self.types:
                known = ", ".join(map(repr, self.types))
                problem = f"{stage.type!r} is no stage type; there are {known}"
                raise InvalidResource.at(where, ("spec", "stages", i, "type"), problem)
        for policy in self.policies:
            await policy.check(resource, where)

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
        :param facts: further ones of the :class:`Run`; with a ``parent``, it ends with that, unless
            that finishes
        :raises ResourceNotFound: there is no such workflow
        :raises InvalidInput: the input is no object
        :raises Draining: no runs are accepted at present
        :raises ResourceExists: a run has the ``uid`` that is among the facts; none was started
        """
        self._accept(facts.get("parent"))
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
        self._accept(facts.get("parent"))
        names = {"workflow": workflow.name, "workflow_uid": workflow.metadata.uid}
        given = named_values(input)
        namespace = facts.get("namespace", self.namespace)
        facts["definition"] = await self._defined(workflow)
        facts["plugin_set"] = self.snapshots.plugins(namespace).id
        code = self.snapshots.take(namespace)
        run = Run(**names, **facts, input=given, code=code)
        while (other := self._walks.get(run.uid)) is not None:
            await asyncio.gather(*self._beginning, return_exceptions=True)
            if self._walks.get(run.uid) is other:  # it was stored, and is found
                raise ResourceExists(RUN_KIND, run.name)
        known = around(self.policies, workflow.spec.options, "admit")
        verdicts = [policy.admit(workflow, run) for policy in known]  # each may refuse it
        run = run.to(RunState.RUNNING) if all(verdicts) else run
        walk = self._walks[run.uid] = self._walk(run, workflow)
        # A task of its own: what is stored is begun too, even if whoever asked for it has gone.
        beginning = asyncio.create_task(self._begin(walk, by, told), name=f"{run.name}/begin")
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        await asyncio.shield(beginning)
        return run

    def _accept(self, parent: UUID | None) -> None:
        """Refuse runs while the server drains, but for what a run in progress needs to end.

        :raises Draining: saying so
        """
        walk = self._walks.get(parent) if parent is not None else None
        if self.draining and (walk is None or walk.stopped):
            raise Draining()

    async def _defined(self, workflow: Workflow) -> str:
        """Keep a workflow as runs begin with it, once."""
        key = workflow.metadata.uid, workflow.metadata.generation
        if key not in self._definitions:
            self._definitions[key] = await define(self.storage, workflow)
        return self._definitions[key]

    def _walk(self, run: Run, workflow: Workflow) -> Walk:
        parts = self.storage, self.executor, self.types
        walk = Walk(run, workflow, *parts, events=self.events, log_limit=self.log_limit)
        walk.policies, walk.seal, walk.places = self.policies, self.seal, self._host.places
        return walk

    async def _begin(self, walk: Walk, by: str, told: Sequence[Event]) -> None:
        told = [_told(events.RUN_STARTED, walk.seen(), by), *told]
        try:
            await self.storage.add_run(walk.run, events=told)
        except BaseException:
            del self._walks[walk.run.uid]
            raise
        for event in told:
            self.events.publish(event)
        self._go(walk)

    def _go(self, walk: Walk) -> None:
        self._walks[walk.run.uid] = walk
        end = self._see_through(walk, walk.begin())
        self._ends[walk.run.uid] = asyncio.create_task(end, name=f"{walk.run.name}/end")

    async def wait(self, run: UUID) -> StoredRun:
        """Return a run once it has ended. Cancelling the wait does not stop the run.

        :raises Draining: the server stops before; the next one goes on with the run
        """
        if run in self._walks and run not in self._ends:  # it is just being stored
            await asyncio.gather(*self._beginning, return_exceptions=True)
        end = self._ends.get(run)
        return await (self.storage.get_run(run) if end is None else asyncio.shield(end))

    async def _see_through(self, walk: Walk, computing: asyncio.Task[Outcome]) -> StoredRun:
        """Wait until a run is computed, store how it ended, and tell. Is never cancelled.

        :raises Draining: the server stops, and another one is to go on with it
        """
        uid, result = walk.run.uid, None
        try:
            try:
                result = (await self._computed(walk, computing)).json
                end, failure = RunState.FINISHED, None
            except (asyncio.CancelledError, RunCancelled):
                await self.executor.cancel(uid)
                end, failure = RunState.CANCELLED, failure_of(RunCancelled())
                if walk.handed_over:
                    await walk.settle()
                    raise Draining from None
                if walk.stopped:
                    end, failure = RunState.FAILED, ServerStopped().failure
            except Exception as error:
                end, failure = RunState.FAILED, failure_of(error)
                if not isinstance(error, FlowdaptError):
                    said = "run %s ended by a fault of flowdapt itself"
                    walk.log.exception(said, walk.run.name)
            if end is not RunState.FINISHED:
                for child in list(self._walks.values()):
                    if child.run.parent == uid:
                        child.cancel()
            await walk.settle()
            return await self._end(walk, end, failure, result)
        finally:
            await self.executor.release(uid)
            self._walks.pop(uid, None)
            self._ends.pop(uid, None)

    async def _computed(self, walk: Walk, computing: asyncio.Task[Outcome]) -> Outcome:
        """Wait until a run is computed; what is lost with a cluster is, if need be, once more."""
        for _ in range(1, LOST_ATTEMPTS):
            try:
                return await computing
            except ResultsLost as error:
                walk.log.warning("run %s is computed again in part: %s", walk.run.name, error)
            await walk.settle()
            walk.earlier = await earlier(self.storage, walk.run, walk.workflow)
            if walk.cancelled or walk.stopped:
                raise RunCancelled
            computing = walk.begin()
        return await computing

    async def _end(
        self,
        walk: Walk,
        state: RunState,
        failure: Failure | None,
        result: bytes | memoryview | None,
    ) -> StoredRun:
        was, open_run, pause = walk.run.state, walk.run, RETRY_SECONDS
        if was is RunState.PENDING and state is RunState.FINISHED:  # a policy computed nothing
            open_run = open_run.to(RunState.RUNNING)
        while True:
            walk.run = open_run.to(state, failure=failure)
            text = _said(failure) if failure is not None else result
            seen = walk.seen(text)
            told = [*walk.last_told, _told(events.RUN_FINISHED, seen)]
            facts: dict[str, Any] = {"result": text, "last": walk.last, "events": told}
            try:
                await self.storage.save_run(walk.run, was=was, **facts)
                break
            except (ResourceNotFound, UnlawfulTransition) as error:
                walk.log.info("run %s was deleted or ended by others: %s", walk.run.name, error)
                break
            except FlowdaptError as error:
                if self._stopping:  # the next server goes on with it
                    raise
                # Such as a full disk. The result may be too much for it; the end is not.
                walk.log.exception("the end of run %s is not stored; once more", walk.run.name)
                state, failure = RunState.FAILED, failure_of(error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)
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
        if run.uid in self._walks and run.uid not in self._ends:  # it is just being stored
            await asyncio.gather(*self._beginning, return_exceptions=True)
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

    async def _on_ask(self, ask: Ask) -> bytes:
        if ask.kind not in self.answers:
            raise StageError(f"no plugin of this server answers {ask.kind!r}")
        return await self.answers[ask.kind](ask)

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
