"""One run on its way through its graph: what is submitted when, and what is on record of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowdapt.context import Places, Sealed, WorkflowRunContext
from flowdapt.errors import RunCancelled, StageError
from flowdapt.events import LOG_APPENDED, STAGE_CHANGED, Event, Events
from flowdapt.executors import Call, Executor, Handle, MapCall, Outcome, Progress, StageFailed
from flowdapt.hooks import load
from flowdapt.payloads import to_json
from flowdapt.plugins import Plugins
from flowdapt.resources import Stage, Workflow, amounts, now
from flowdapt.runs import Failure, Run, RunState, StageRecord
from flowdapt.stages import TYPES
from flowdapt.storage import LogBlock, Storage, StoredRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Type:
    """What the engine knows of a stage type: where it is, and whether it maps."""

    address: str
    mapped: bool


def kernel_types() -> dict[str, Type]:
    """Return the stage types that need no plugin, by name."""
    return {name: Type(target, load(target).mapped) for name, target in TYPES.items()}


def stage_types(plugins: Plugins) -> dict[str, Type]:
    """Return the stage types of the kernel and those that plugins offer, by name."""
    types, offered = kernel_types(), plugins.providers("stages")
    for name, found in plugins.importable("stages", offered, what="stage type"):
        types[name] = Type(offered[name].target, found.mapped)
    return types


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
    seal: Seal | None = None
    places: Places | None = None
    #: of the stage that ended last: nothing follows but the run's end, and it is stored with that
    last: StageRecord | None = None
    last_told: tuple[Event, ...] = ()  #: that event
    records: dict[str, StageRecord] = field(default_factory=dict)
    task: asyncio.Task[Outcome] | None = None
    _started: set[str] = field(default_factory=set)
    _handles: dict[str, Handle] = field(default_factory=dict)
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _writes: set[asyncio.Task[None]] = field(default_factory=set)
    _logged: int = 0

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """For lines about this run; they carry its trace."""
        return logging.LoggerAdapter(logger, {"trace_id": self.run.uid.hex})

    def begin(self) -> asyncio.Task[Outcome]:
        """Have the stages computed as a task of their own, see :meth:`compute`."""
        self.task = asyncio.create_task(self.compute(), name=self.run.name)
        return self.task

    def cancel(self) -> None:
        """Stop what is computed; without effect once all of it is."""
        if self.task is not None:
            self.task.cancel()

    async def compute(self) -> Outcome:
        """Compute every stage, each as soon as what it depends on is there.

        :return: of the stage whose output is the run's, with its JSON
        :raises StageError: a stage failed; what else was under way is stopped
        """
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
        try:
            async with asyncio.TaskGroup() as self._group:
                ready = graph.ready(done=())
                for name in filter(ready.__contains__, self.stages):
                    self._start(name)
        except BaseExceptionGroup as group:
            await self.executor.cancel(self.run.uid)
            raise _first(group) from None
        return self._outcomes[self.result]

    def _start(self, name: str) -> None:
        self._started.add(name)
        self._group.create_task(self._stage(self.stages[name]), name=f"{self.run.name}/{name}")

    async def _stage(self, stage: Stage) -> None:
        """Compute one stage, store that it is done, and start those that waited for it."""
        self._record(StageRecord(stage=stage.name))
        try:
            handle = self.executor.submit(self._call(stage))
            self._handles[stage.name] = handle
            for name in self.dependents[stage.name]:
                if self._streams(self.stages[name]):
                    self._start(name)
            outcome = await handle.outcome
        except StageError as error:
            state = RunState.CANCELLED if isinstance(error, RunCancelled) else RunState.FAILED
            await self._ended(stage.name, state, failure=failure_of(error, stage.name))
            raise
        except asyncio.CancelledError:
            await self._ended(stage.name, RunState.CANCELLED)
            raise
        await self._ended(
            stage.name,
            RunState.FINISHED,
            attempts=outcome.attempts,
            worker=outcome.worker,
            items=outcome.items,
            items_done=outcome.items or 0,
            items_failed=outcome.items_failed,
            failures=outcome.failures,
            failed_items=outcome.failed_items,
            cpu_seconds=outcome.cpu_seconds,
            used=outcome.used,
            result_bytes=outcome.result_bytes,
            result=outcome.stored,
        )
        self._outcomes[stage.name] = outcome
        for name in self.dependents[stage.name]:
            waiting = self.stages[name]
            ready = all(dep in self._outcomes for dep in waiting.depends_on)
            if name not in self._started and (ready or self._streams(waiting)):
                self._start(name)

    def _streams(self, stage: Stage) -> bool:
        """Tell whether a stage can begin while the one that it maps over is still at it."""
        if stage.name in self._started or not self._maps_over_dependency(stage):
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

    def _call(self, stage: Stage) -> Call:
        refs = [self._outcomes[d].ref for d in stage.depends_on if d in self._outcomes]
        facts: dict[str, Any] = {
            "run": self.run.uid,
            "stage": stage.name,
            "context": self.context,
            "target": stage.target,
            "type": self.types[stage.type].address,
            "options": stage.options,
            "takes_input": not stage.depends_on,
            "resources": amounts(stage.resources),
            "code": self.run.code,
            "priority": stage.priority or 0,
            "final": stage.name == self.result,
            "mapped_on": any(
                self._maps_over_dependency(self.stages[name])
                and self.stages[name].depends_on[0] == stage.name
                for name in self.dependents[stage.name]
            ),
        }
        if not self.types[stage.type].mapped:
            return Call(**facts, args=tuple(refs))
        over: Any = None
        if self._maps_over_dependency(stage):
            first = stage.depends_on[0]
            over = refs.pop(0) if first in self._outcomes else None
            if self.types[self.stages[first].type].mapped:
                over = self._handles[first]  # which knows the places of the elements
        return MapCall(
            **facts,
            args=tuple(refs),
            over=over,
            map_on=stage.map_on,
            allow_partial_failure=stage.allow_partial_failure,
            chunk_size=stage.chunk_size,
            only=self.run.only.get(stage.name),
        )

    # Records ---------------------------------------------------------------------------------

    def _record(self, record: StageRecord) -> None:
        """Note how a stage stands while it is computed, and tell whoever wants to know."""
        self.records[record.stage] = record
        if self.events.heard(STAGE_CHANGED):
            self.events.publish(self._told(record))

    async def _ended(self, stage: str, state: RunState, **facts: Any) -> None:
        facts |= {"state": state, "finished_at": now(), "waiting": None}
        record = self.records[stage].model_copy(update=facts)
        event = self._told(record)
        if state is RunState.FINISHED and len(self._outcomes) + 1 == len(self.stages):
            self.last, self.last_told = record, (event,)
            return
        await self.storage.save_stage(self.run.uid, record, events=[event])
        self.records[stage] = record
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
        if progress.began is not None:
            facts["history"] = (*record.history, {"attempt": attempts, **progress.began})
        if progress.items is not None:
            facts["items"] = progress.items
            facts["items_done"] = progress.items_done
            facts["items_failed"] = progress.items_failed
        self._record(record.model_copy(update=facts))

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
        task = asyncio.create_task(self._write_log(block))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write_log(self, block: LogBlock) -> None:
        try:
            await self.storage.append_log(self.run.uid, block)
        except Exception:
            self.log.exception("lines of run %s could not be stored", self.run.name)
        else:
            if self.events.heard(LOG_APPENDED):
                facts = {"stage": block.stage, "lines": block.count}
                self.events.publish(self._event(LOG_APPENDED, facts, kept=False))

    async def settle(self) -> None:
        """Wait until the lines that were written so far are stored."""
        if self._writes:
            await asyncio.gather(*self._writes)

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
