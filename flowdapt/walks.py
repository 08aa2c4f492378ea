"""One run on its way through its graph: what is submitted when, and what is on record of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flowdapt.context import Places, Sealed, WorkflowRunContext
from flowdapt.errors import ResultsLost, RunCancelled, StageError
from flowdapt.events import ITEM_YIELDED, LOG_APPENDED, STAGE_CHANGED, Event, Events
from flowdapt.executors import Call, Executor, Handle, MapCall, Outcome, Progress, Ref, StageFailed
from flowdapt.plugins import Plugins
from flowdapt.policies import Compute, Policy, around
from flowdapt.recovery import Earlier, recovers
from flowdapt.resources import Stage, Workflow, amounts, now
from flowdapt.runs import Failure, Run, RunState, StageRecord
from flowdapt.stages import Target
from flowdapt.storage import LogBlock, Storage, StoredRun
from flowdapt.texts import to_json

logger = logging.getLogger(__name__)

CHUNKS_BYTES = 16 * 2**20  #: what came of elements is stored up to here; the rest is done again


@dataclass(frozen=True, slots=True)
class Type:
    """What the engine knows of a stage type: where it is, and whether it maps."""

    address: str
    mapped: bool


def stage_types(plugins: Plugins) -> dict[str, Type]:
    """Return the stage types that plugins offer, by name."""
    offered = plugins.providers("stages")
    found = plugins.importable("stages", offered, what="stage type")
    return {name: Type(offered[name].target, made.mapped) for name, made in found}


#: makes of a config that names secrets what executors are given
Seal = Callable[[dict[str, Any]], Awaitable[Sealed]]


@dataclass
class Walk:
    """One run in progress.

    :param types: by the names that stages use
    :param events: where it is told how stages go on
    :param places: where its objects are
    :param log_limit: bytes of log that are kept; what follows is dropped, and that is said
    """

    run: Run
    workflow: Workflow
    storage: Storage
    executor: Executor
    types: Mapping[str, Type]
    events: Events = field(default_factory=Events)
    log_limit: int = 16 * 1024 * 1024
    policies: Sequence[Policy] = ()
    seal: Seal | None = None
    places: Places | None = None
    earlier: Earlier = field(default_factory=Earlier)
    stopped: bool = False
    cancelled: bool = False
    #: of the stage that ended last: nothing follows but the run's end, and it is stored with that
    last: StageRecord | None = None
    last_told: tuple[Event, ...] = ()  #: that event
    records: dict[str, StageRecord] = field(default_factory=dict)
    task: asyncio.Task[Outcome] | None = None
    _started: set[str] = field(default_factory=set)
    _submitted: dict[str, Handle | None] = field(default_factory=dict)
    _handles: dict[str, Handle] = field(default_factory=dict)  # of them, what others may map over
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _again: set[str] = field(default_factory=set)  # that ended before, and whose results are gone
    _writes: set[asyncio.Task[None]] = field(default_factory=set)
    _logged: int = 0
    _chunked: int = 0
    _lost: bool = False  # results are gone, and what is not stored is to be computed again

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """For lines about this run; they carry its trace."""
        return logging.LoggerAdapter(logger, {"trace_id": self.run.uid.hex})

    def begin(self) -> asyncio.Task[Outcome]:
        """Have the stages computed as a task of their own, see :meth:`compute`."""
        compute: Compute = self.compute
        for policy in around(self.policies, self.workflow.spec.options, "run"):
            compute = partial(policy.run, self, compute)
        self.task = asyncio.ensure_future(compute())
        if self.cancelled:  # while it was being stored
            self.task.cancel()
        return self.task

    def cancel(self) -> None:
        """Stop what is computed; without effect once all of it is."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()

    def stop(self) -> None:
        """Stop what is computed, because the server stops; without effect on what was cancelled."""
        if not self.cancelled:
            self.stopped = True
            if self.task is not None:
                self.task.cancel()

    @property
    def durable(self) -> bool:
        """Whether large results are kept for later servers, too."""
        return bool(self.workflow.spec.options.get("durable"))

    @property
    def handed_over(self) -> bool:
        """Whether it was stopped, and another server is to go on with it."""
        return self.stopped and bool(self.run.definition) and recovers(self.workflow) != "fail"

    async def compute(self) -> Outcome:
        """Compute every stage, each as soon as what it depends on is there.

        :return: of the stage whose output is the run's, with its JSON
        :raises StageError: a stage failed; what else was under way is stopped
        """
        if self.run.state is RunState.PENDING:
            await self._shielded(self._leave_queue())
        graph = self.workflow.spec.graph()
        self.stages = {stage.name: stage for stage in self.workflow.spec.stages}
        self.dependents = graph.dependents
        config: Any = self.run.config
        if b"$secret{" in to_json(config):
            if self.seal is None:
                raise StageError("the config names a secret, and no plugin here keeps secrets")
            config = await self.seal(config)
        facts = self.run.model_dump(exclude={"input", "config", "only"})
        self.context = WorkflowRunContext(
            input=self.run.input,
            namespace=self.run.namespace,
            executor=self.executor.kind,
            config=config,
            objects=self.places,
            run_data={**facts, "input": self.run.input, "config": self.run.config},
            definition_data=self.workflow.model_dump(),
        )
        self.result = graph.result
        for stage in self.stages.values():
            if stage.type not in self.types:
                raise StageError(
                    f"stage {stage.name!r} has the type {stage.type!r}, which no plugin offers"
                )
        self._recall()
        try:
            async with asyncio.TaskGroup() as self._group:
                ready = graph.ready(done=self._outcomes)
                for name in filter(ready.__contains__, self.stages):
                    self._start(name)
        except BaseExceptionGroup as group:
            await self.executor.cancel(self.run.uid)
            raise _first(group) from None
        end = self._outcomes[self.result]
        return await self._as_json(end) if end.json is None and end.stored is not None else end

    def _recall(self) -> None:
        """Take what an earlier server computed, as far as later stages need it and it is there.

        :raises StageError: a stage had failed, or the run been cancelled, and only the end of the
            run was not stored
        """
        for state in (self._started, self._submitted, self._handles, self._outcomes):
            state.clear()  # it may be once more
        self.last, self.last_told, self._lost = None, (), False
        ended = {n: r for n, r in self.earlier.records.items() if n in self.stages}
        self.records |= ended
        for name, record in ended.items():
            if record.state is RunState.FAILED and record.failure is not None:
                raise StageFailed(record.failure)
            if record.state is RunState.CANCELLED and "timeout" not in self.workflow.spec.options:
                raise RunCancelled
            if record.result is not None:
                with suppress(ValueError):  # it is computed again
                    ref = self.executor.restore(record.result)
                    self._outcomes[name] = Outcome(ref, stored=record.result)
        wanted = [name for name in self.stages if name not in ended or name == self.result]
        for name in wanted:
            if name not in self._outcomes:
                wanted += (
                    d for d in self.stages[name].depends_on if d in ended and d not in wanted
                )
        self._again = {n for n in wanted if n in ended and n not in self._outcomes}
        for name in ended.keys() - self._again - self._outcomes.keys():
            self._outcomes[name] = Outcome(None)  # which nobody takes any more
        self._started.update(self._outcomes)
        self._forget_elements()

    async def _as_json(self, outcome: Outcome) -> Outcome:
        """Have the run's result put as JSON, which is all that was left to do."""
        stage, target = self.stages[self.result], "flowdapt.stages.itself"
        return await self.beside(stage, target, outcome.ref, type=self.types["simple"].address)

    def beside(self, stage: Stage, target: Target, *args: Ref, **facts: Any) -> Awaitable[Outcome]:
        """Compute something else for a stage's sake, such as whether it is to be computed.

        :param args: results that the target takes, see :meth:`refs`
        :param facts: of the :class:`~flowdapt.executors.Call`
        """
        call = self._facts(stage) | {"takes_input": False} | facts
        return self.executor.submit(Call(**call, target=target, args=args)).outcome

    def refs(self, stage: Stage) -> list[Ref]:
        """Return the results of the stages that a stage depends on, as far as they are there."""
        return [self._outcomes[d].ref for d in stage.depends_on if d in self._outcomes]

    def _start(self, name: str) -> None:
        self._started.add(name)
        self._group.create_task(self._stage(self.stages[name]), name=f"{self.run.name}/{name}")

    async def _stage(self, stage: Stage) -> None:
        """Compute one stage, store that it is done, and start those that waited for it."""
        self._record(StageRecord(stage=stage.name))
        try:
            compute: Compute = partial(self._computed, stage)
            for policy in self._around(stage):
                compute = partial(policy.stage, self, stage, compute)
            outcome = await compute()
            self._check_handle(stage.name, outcome)
        except Exception as error:
            state = RunState.CANCELLED if isinstance(error, RunCancelled) else RunState.FAILED
            self._lost = self._lost or isinstance(error, ResultsLost)
            if not (self._lost or (self.handed_over and state is RunState.CANCELLED)):
                await self._ended(stage.name, state, failure=failure_of(error, stage.name))
            raise
        except asyncio.CancelledError:
            if not (self._lost or self.handed_over):
                await self._ended(stage.name, RunState.CANCELLED)
            raise
        await self._finished(stage, outcome)
        self._outcomes[stage.name] = outcome
        for name in self.dependents[stage.name]:
            waiting = self.stages[name]
            ready = all(dep in self._outcomes for dep in waiting.depends_on)
            if name not in self._started and (ready or self._streams(waiting)):
                self._start(name)

    def _around(self, stage: Stage) -> list[Policy]:
        return around(self.policies, stage.options, "stage")

    def _check_handle(self, name: str, outcome: Outcome) -> None:
        """Forget a handle whose outcome a policy has exchanged for another one."""
        handle = self._handles.get(name)
        if handle is not None and handle.outcome.result().ref is not outcome.ref:
            del self._handles[name]

    async def _computed(self, stage: Stage) -> Outcome:
        self._submitted.setdefault(stage.name)  # what was computed before was so beside it
        handle = self._submitted[stage.name] = self.executor.submit(self._call(stage))
        if not self._around(stage):
            self._handles[stage.name] = handle
            for name in self.dependents[stage.name]:
                if self._streams(self.stages[name]):
                    self._start(name)
        outcome = await handle.outcome
        self._handles[stage.name] = handle
        return outcome

    async def _finished(self, stage: Stage, outcome: Outcome) -> None:
        if outcome.worker is None and stage.name in self._again:  # all of it was there
            self.records[stage.name] = self.earlier.records[stage.name]
            return
        await self._ended(
            stage.name,
            RunState.SKIPPED if outcome.skipped else RunState.FINISHED,
            attempts=outcome.attempts,
            worker=outcome.worker,
            items=outcome.items,
            items_done=outcome.items or 0,
            items_failed=outcome.items_failed,
            failures=outcome.failures,
            failed_items=outcome.failed_items,
            elements=outcome.elements,
            cpu_seconds=outcome.cpu_seconds,
            used=outcome.used,
            result_bytes=outcome.result_bytes,
            result=outcome.stored,
        )

    def _streams(self, stage: Stage) -> bool:
        """Tell whether a stage can begin while the one that it maps over is still at it."""
        if stage.name in self._started or not self._maps_over_dependency(stage):
            return False
        if self._around(stage):
            return False
        first, *others = stage.depends_on
        return (
            first not in others
            and self.types[self.stages[first].type].mapped
            and first in self._handles
            and all(dep in self._outcomes for dep in others)
        )

    def _maps_over_dependency(self, stage: Stage) -> bool:
        mapped = self.types[stage.type].mapped
        return mapped and not stage.map_on and bool(stage.depends_on)

    def _facts(self, stage: Stage) -> dict[str, Any]:
        return {
            "run": self.run.uid,
            "stage": stage.name,
            "context": self.context,
            "type": self.types[stage.type].address,
            "options": stage.options,
            "takes_input": not stage.depends_on,
            "resources": amounts(stage.resources),
            "code": self.run.code,
            "priority": stage.priority or 0,
            "durable": self.durable,
            "final": stage.name == self.result,
            "mapped_on": self.is_mapped_over(stage),
        }

    def is_mapped_over(self, stage: Stage) -> bool:
        """Tell whether a later stage takes the elements of a stage's result one by one."""
        later = (self.stages[name] for name in self.dependents[stage.name])
        return any(
            self._maps_over_dependency(one) and one.depends_on[0] == stage.name for one in later
        )

    def _call(self, stage: Stage) -> Call:
        refs, facts = self.refs(stage), {**self._facts(stage), "target": stage.target}
        if not self.types[stage.type].mapped:
            return Call(**facts, args=tuple(refs))
        over: Any = None
        if self._maps_over_dependency(stage):
            first = stage.depends_on[0]
            over = refs.pop(0) if first in self._outcomes else None
            if self.types[self.stages[first].type].mapped:
                over = self._handles.get(first, over)  # which knows the places of the elements
        return MapCall(
            **facts,
            args=tuple(refs),
            over=over,
            map_on=stage.map_on,
            allow_partial_failure=stage.allow_partial_failure,
            chunk_size=stage.chunk_size,
            only=self.run.only.get(stage.name),
            known=tuple(self.earlier.chunks.get(stage.name, ())),
        )

    def _forget_elements(self) -> None:
        """Forget what is known of elements of lists that are made anew, and may be others."""
        for name in [*self.earlier.chunks]:
            over = self.stages.get(name)
            while over is not None and self._maps_over_dependency(over):
                over = self.stages[over.depends_on[0]]
                if self.types[over.type].mapped:
                    continue
                if over.name in self._again or over.name not in self.earlier.records:
                    del self.earlier.chunks[name]
                    self._later("elements", self.storage.save_chunk(self.run.uid, name, None))
                break

    # Records ---------------------------------------------------------------------------------

    def _record(self, record: StageRecord) -> None:
        """Note how a stage stands while it is computed, and tell whoever wants to know."""
        self.records[record.stage] = record
        if self.events.heard(STAGE_CHANGED):
            self.events.publish(self._told(record))

    async def _ended(self, stage: str, state: RunState, **facts: Any) -> None:
        good = state in (RunState.FINISHED, RunState.SKIPPED)
        known = {} if good or not (handle := self._submitted.get(stage)) else handle.facts()
        record = self.records[stage]
        facts = {"finished_at": max(now(), record.started_at), "waiting": None, **known, **facts}
        record = record.model_copy(update=facts | {"state": state})
        event = self._told(record)
        if good and len(self._outcomes) + 1 == len(self.stages):
            self.last, self.last_told = record, (event,)
            return
        await self._shielded(self._save(record, event))

    async def _shielded(self, write: Coroutine[Any, Any, None]) -> None:
        """Store something whatever becomes of others: of a sibling that fails, of the whole run."""
        saving = asyncio.create_task(write)
        self._writes.add(saving)
        saving.add_done_callback(self._writes.discard)
        await asyncio.shield(saving)

    async def _leave_queue(self) -> None:
        begun = self.run.to(RunState.RUNNING)
        await self.storage.save_run(begun, was=RunState.PENDING)
        self.run = begun

    async def _save(self, record: StageRecord, event: Event) -> None:
        await self.storage.save_stage(self.run.uid, record, events=[event])
        self.records[record.stage] = record
        self.events.publish(event)

    def tell_last(self) -> None:
        """Tell of the stage that ended last, once it is stored with the run's end."""
        if self.last is not None:
            self.records[self.last.stage] = self.last
        for event in self.last_told:
            self.events.publish(event)

    def _told(self, record: StageRecord) -> Event:
        return self._event(STAGE_CHANGED, record.facts(), kept=record.state.final)

    def _event(self, what: str, facts: dict[str, Any], *, kept: bool) -> Event:
        uid, workflow = self.run.uid, self.run.workflow
        data = {"run": uid, "workflow": workflow, **facts}
        return Event(type=what, data=data, run=uid, workflow=workflow, kept=kept)

    def on_progress(self, progress: Progress) -> None:
        """Note that a call moved on."""
        record = self.records.get(progress.stage)
        if record is None or record.state.final:
            return
        attempts = max(record.attempts, progress.attempts)
        facts: dict[str, Any] = {"attempts": attempts, "waiting": progress.waiting}
        if progress.worker is not None:
            facts["worker"] = progress.worker
        if progress.began is not None and progress.stage in self._submitted:
            facts["history"] = (*record.history, {"attempt": attempts, **progress.began})
        if progress.items is not None:
            counts = "items", "items_done", "items_failed"
            facts |= {name: getattr(progress, name) for name in counts}
        self._record(record.model_copy(update=facts))
        for chunk in progress.chunks:
            self._chunked += len(chunk)
            if self.durable or self._chunked <= CHUNKS_BYTES:
                write = self.storage.save_chunk(self.run.uid, progress.stage, chunk)
                self._later("elements", write)

    def on_log(self, block: LogBlock) -> None:
        """Store lines of a stage, up to the limit of a run."""
        over = self._logged > self.log_limit
        self._logged += len(block.lines)
        if over:
            return
        if self._logged > self.log_limit:
            note = b'{"stream": "flowdapt", "level": "WARNING", "message": "the log of this run is '
            note += b'full (logging.run_limit); what follows is dropped"}\n'
            block = LogBlock(block.stage, block.lines + note, block.count + 1)
        self._later("lines", self._write_log(block))

    async def _write_log(self, block: LogBlock) -> None:
        await self.storage.append_log(self.run.uid, block)
        if self.events.heard(LOG_APPENDED):
            facts = {"stage": block.stage, "lines": block.count}
            self.events.publish(self._event(LOG_APPENDED, facts, kept=False))

    def _later(self, what: str, write: Awaitable[None]) -> None:
        """Have something stored that nobody waits for but the end of the run."""
        task = asyncio.create_task(self._written(what, write))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _written(self, what: str, write: Awaitable[None]) -> None:
        try:
            await write
        except Exception:
            self.log.exception("%s of run %s could not be stored", what, self.run.name)

    def on_item(self, stage: str, number: int, text: bytes) -> None:
        """Tell of an item that the last stage yielded, if anybody wants to know."""
        if self.events.heard(ITEM_YIELDED):
            facts = {"stage": stage, "number": number, "item": text}
            self.events.publish(self._event(ITEM_YIELDED, facts, kept=False))

    async def settle(self) -> None:
        """Wait until what was written so far is stored."""
        if self._writes:
            await asyncio.gather(*self._writes, return_exceptions=True)

    def seen(self, result: bytes | memoryview | None = None) -> StoredRun:
        """Return the run as it stands."""
        text = None if result is None else bytes(result)
        return StoredRun(self.run, text, len(text or b""))


def failure_of(error: BaseException, stage: str | None = None) -> Failure:
    """Return what is to be kept of an error that ended a stage or a run."""
    if isinstance(error, StageFailed):
        return error.failure
    return Failure(type=type(error).__name__, message=str(error), stage=stage)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that came first; cancelled siblings do not count."""
    errors = [e for e in group.exceptions if not isinstance(e, RunCancelled)]
    return (errors or group.exceptions)[0]
