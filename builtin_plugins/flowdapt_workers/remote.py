"""Computes stages on a cluster, through a gateway: the server's side of it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from flowdapt.context import WorkflowRunContext
from flowdapt.errors import NeverFits, ResultsLost, RunCancelled, StageError
from flowdapt.executors import Call, Host, Node, Ref
from flowdapt.storage import LogBlock
from flowdapt_workers import capacities, payloads
from flowdapt_workers.asking import Answering, Asked
from flowdapt_workers.briefings import Briefings
from flowdapt_workers.calls import Done, Failed, Order
from flowdapt_workers.connection import Connection
from flowdapt_workers.failures import NodesUnfit
from flowdapt_workers.jobs import Job, Single, Unit, began
from flowdapt_workers.lookups import LOOKUPS, task_of
from flowdapt_workers.mapped import Mapped
from flowdapt_workers.parts import Held, Part
from flowdapt_workers.queues import Queue
from flowdapt_workers.submitting import LEAST_CPUS, SubmittingExecutor
from flowdapt_workers.uses import CPU_WATTS, GPU_WATTS, watts
from flowdapt_workers.wire import Message

logger = logging.getLogger(__name__)

AHEAD = 2  #: orders of a mapped stage for each that can be computed at once
SEEN_AHEAD = 64  #: further ones where nodes may join: whoever adds them goes by what waits
PLUGINS_KEPT = 4  #: plugin sets that nodes which join prepare before anything is computed there


@dataclass(slots=True)
class _Sent:
    """An order that is not answered.

    :param unit: what it computes of a job
    """

    order: Order
    unit: Unit


class RemoteExecutor(SubmittingExecutor):
    """Has stages computed on a cluster. A subclass names the kind of cluster.

    What a stage returned stays on the cluster, if it is large, and goes from there to the stages
    that take it. A gateway between this process and the cluster holds it; where that is lost,
    whatever needs nothing of it goes on once the cluster is there again.

    :param elastic: nodes may join, so that what fits on none of them waits and is not refused
    :param cpu_watts: of a processor that computes, to estimate energy; ``gpu_watts`` of a GPU
    :param options: for the cluster
    """

    cluster: ClassVar[str]  #: address of the :class:`~flowdapt_workers.clusters.Cluster`
    name: ClassVar[str]  #: for people
    objects: ClassVar[str] = ""  #: what processes attach to the cluster's own memory with
    chunk_seconds = 0.3  # a message costs milliseconds, most of them of a processor that computes
    async_chunk = 256  # those of one order wait side by side, and take one place

    def __init__(
        self,
        *,
        elastic: bool = False,
        cpu_watts: float = CPU_WATTS,
        gpu_watts: float = GPU_WATTS,
        **options: Any,
    ) -> None:
        super().__init__()
        self.watts = watts(cpu_watts, gpu_watts)
        self._elastic = elastic
        self._host = Host(app_dir=None)  # type: ignore[arg-type]  # replaced when it is started
        self._nodes: list[Node] = []
        self._jobs = Queue()
        self._sent: dict[int, _Sent] = {}
        self._ending: set[int] = set()  # orders that were cancelled, and may not have ended
        self._idle: set[Unit] = set()  # that wait for others to be computed, or did
        self._briefings = Briefings()
        self._plugins: dict[str, Path] = {}  # the sets in use, each with where its wheels are
        self._connection = Connection(
            self.cluster,
            self.name,
            self.objects,
            options,
            received=self._received,
            lost=self._lost_all,
            away=self._tell_all,
            back=self._pump,
        )

    async def start(self, host: Host) -> None:
        """Start a cluster, or connect to one.

        :raises ServerError: it cannot be reached
        """
        self._host = host
        self.contexts[LOOKUPS] = payloads.pack(payloads.dump(WorkflowRunContext()))
        await self._connection.open(host)

    async def stop(self) -> None:
        """Let go of the cluster; one that was started for this server ends."""
        for job in self._jobs:
            job.failed(RunCancelled("the executor was stopped"))
        for sent in self._sent.values():
            sent.unit.job.failed(RunCancelled("the executor was stopped"))
        await self._connection.close()

    # The cluster -----------------------------------------------------------------------------

    def _lost_all(self) -> None:
        """Compute again what a gateway had that ended."""
        self._nodes = []
        self._briefings.clear()
        sent, self._sent = self._sent, {}
        for job in {*self._jobs, *(one.unit.job for one in sent.values())}:
            if job.holds_results:
                job.failed(self._lost(f"stage {job.call.stage!r} has computed so far"))
        for one in sent.values():
            self._give_back(one)

    def _give_back(self, sent: _Sent) -> None:
        """Queue what a gateway had and cannot answer any more."""
        job = sent.unit.job
        if not (job.over or sent.unit.late):
            sent.unit.answering = None  # whoever computes it again asks again
        sent.unit.end()
        if job.over:
            return
        if sent.order.needs:
            job.failed(self._lost(f"stage {job.call.stage!r} takes"))
            return
        if sent.unit.late:
            job.late(sent.unit)
        else:
            job.returned(sent.unit)
        self._enqueue(job)

    def _lost(self, what: str) -> ResultsLost:
        said = f"the {self.name} cluster was lost ({self._connection.down}), and with it what"
        return ResultsLost(f"{said} {what}")

    def _tell_all(self) -> None:
        for job in self._jobs:
            self.moved(job)

    # Orders ----------------------------------------------------------------------------------

    def wanted(self, call: Call) -> dict[str, float]:
        """Return what a call needs: what it asks for, and a processor where it says nothing."""
        wanted = {"cpus": 1.0, **call.resources}
        wanted["cpus"] = max(wanted["cpus"], LEAST_CPUS)
        if self._elastic:
            return wanted
        if problems := capacities.problems(self._nodes):
            raise NodesUnfit(f"stage {call.stage!r} can be computed on no node ({problems})")
        if (short := capacities.shortage(self._nodes, wanted)) is not None:
            most = capacities.most(self._nodes, short)
            raise NeverFits(call.stage, short, wanted[short], most)
        return wanted

    def queue(self, job: Job, *, first: bool = False) -> None:
        """Have a job computed."""
        self._jobs.add(job, first=first)
        self._pump()

    def _enqueue(self, job: Job) -> None:
        if job not in self._jobs and not job.over:
            self._jobs.add(job)

    def _pump(self) -> None:
        """Send orders, those of mapped stages only so far ahead that their size can be learned.

        What has a lower priority than one that could send more waits, if it needs no less. Where
        that one has all its orders wait for others, or fits on no node, it would wait for ever.
        """
        if self._connection.link is None:
            self._tell_all()
            return
        self._idle = {unit for unit in self._idle if unit.idle}
        idle = Counter(unit.job for unit in self._idle)
        before: dict[frozenset[str], int] = {}  # such a priority, by what is needed
        for job in list(self._jobs):
            if any(p > job.call.priority and job.wanted.keys() >= n for n, p in before.items()):
                continue
            slots = capacities.slots(self._nodes, job.wanted)
            ahead = AHEAD * slots + SEEN_AHEAD * self._elastic
            while not job.over and job.waiting() and job.admitted():
                if isinstance(job, Mapped) and job.out >= ahead:
                    if job.out > idle[job] and capacities.fits(self._nodes, job.wanted):
                        before.setdefault(frozenset(job.wanted), job.call.priority)
                    break
                self._send(job, job.take(slots))
            if job.over or not (job.waiting() or job.paused or isinstance(job, Mapped)):
                self._jobs.remove(job)

    def resume(self, job: Job) -> None:
        """Go on with a job, in which there is something to compute again."""
        self._enqueue(job)
        self._pump()

    def _send(self, job: Job, unit: Unit) -> None:
        link, number, task = self._connection.link, next(self._numbers), job.task
        assert link is not None  # noqa: S101 - asked before
        order = Order(
            number=number,
            block=number,
            task=task,
            code=job.kind.code,
            wanted=job.wanted,
            piece=unit.piece,
            start=unit.start,
            count=unit.count,
            mapping=job.number,
            priority=job.call.priority,
            attempt=unit.tried,
            failed=unit.failed,
            limited=job.allowed.timeout is not None,
        )
        self._sent[number] = _Sent(order, unit)
        context, snapshots = self.contexts[task.run], self._host.snapshots
        self._briefings.give(link, task.run, job.kind.code, context, snapshots)
        link.send("submit", order)
        if unit.piece is None and job.worker is None:
            self.moved(job)  # it waits no more

    # Answers ---------------------------------------------------------------------------------

    def _received(self, message: Message) -> None:
        kind, *rest = message
        getattr(self, f"_on_{kind}")(*rest)

    def _on_nodes(self, nodes: list[Node]) -> None:
        before, self._nodes = self._nodes, nodes
        self._prepare_new(before)
        for job in {*self._jobs, *(sent.unit.job for sent in self._sent.values())}:
            self.moved(job)
        self._pump()

    def _on_down(self, reason: str) -> None:
        self._connection.down = reason

    def _on_log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        if run != LOOKUPS:
            self._host.on_log(UUID(run), LogBlock(stage, lines, count))

    def _on_items(self, number: int, first: int, texts: Sequence[bytes]) -> None:
        if (sent := self._sent.get(number)) is not None and not sent.unit.job.over:
            call = sent.unit.job.call
            for place, text in enumerate(texts, first):
                self._host.on_item(call.run, call.stage, place, text)

    def _on_ask(self, number: int, question: int, asked: Asked | None, *of: Any) -> None:
        def tell(text: bytes) -> None:
            self._connection.send("answer", number, question, text)

        if (sent := self._sent.get(number)) is not None:
            if not sent.unit.job.over:
                sent.unit.ask(self._host, question, asked, tell)
                if sent.unit.idle and sent.unit not in self._idle:
                    self._idle.add(sent.unit)
                    self._pump()  # what it waits for may have a lower priority
            return
        run, stage, attempt = of
        if (
            run in self.contexts and number not in self._ending
        ):  # what was lost is made again, for which nobody waits here
            Answering(self._host, UUID(run), stage, attempt).ask(question, asked, tell)

    def _on_started(self, number: int, worker: str) -> None:
        if (sent := self._sent.get(number)) is not None and sent.unit.job.worker is None:
            self._began(sent.unit.job, worker)
            self.moved(sent.unit.job)

    def _on_entered(self, number: int) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.unit.begin(lambda: self._expire(number))

    def _expire(self, number: int) -> None:
        """Have an order stopped that took too long; an answer comes all the same."""
        if number in self._sent:
            self._connection.send("expire", number)

    def _began(self, job: Job, worker: str, ago: float = 0.0) -> None:
        job.worker, job.began = worker, began(worker, worker.partition(" on ")[2], ago=ago)

    def _begun(self, job: Job, answer: Done | Failed) -> None:
        """Tell of an attempt that took too little time to be told of while it was computed."""
        if job.worker is None and answer.worker is not None and not job.over:
            self._began(job, answer.worker, ago=answer.seconds)
            self.moved(job)

    def _on_done(self, number: int, done: Done, text: bytes | None) -> None:
        if (sent := self._sent.pop(number, None)) is None:
            return
        job = sent.unit.job
        self._begun(job, done)
        if done.is_async:
            sent.unit.deferred = job.is_async = True
        over = job.over
        job.answered(sent.unit, done, None if text is None else memoryview(text))
        if not over and sent.unit.piece is not None:
            self.moved(job)
        self._goes_on(job)

    def _on_failed(self, number: int, failed: Failed) -> None:
        if (sent := self._sent.pop(number, None)) is not None:
            job, attempts = sent.unit.job, sent.unit.job.attempts
            self._begun(job, failed)
            job.answered(sent.unit, failed)
            if job.attempts > attempts:
                self.moved(job)
            self._goes_on(job)

    def _on_expired(self, number: int) -> None:
        if (sent := self._sent.pop(number, None)) is not None and not sent.unit.job.over:
            sent.unit.job.late(sent.unit)
            self.moved(sent.unit.job)
            self._goes_on(sent.unit.job)

    def _goes_on(self, job: Job) -> None:
        """See what there is to compute after an answer, perhaps of the same job."""
        if job.waiting() or job.paused:
            self._enqueue(job)
        self._pump()

    def _on_lost(self, number: int, cause: str) -> None:
        if (sent := self._sent.get(number)) is None or sent.unit.job.over:
            self._sent.pop(number, None)
            return
        if sent.unit.late:  # and it was killed for it
            self._on_expired(number)
            return
        del self._sent[number]
        job = sent.unit.job
        trace = {"trace_id": job.call.run.hex}
        logger.warning("stage %r lost a worker: %s", job.call.stage, cause, extra=trace)
        sent.unit.answering = None  # whoever computes it again asks again
        job.lost(sent.unit, cause)
        self.moved(job)
        self._enqueue(job)
        self._pump()

    def _on_gone(self, number: int) -> None:
        if (sent := self._sent.pop(number, None)) is not None:
            sent.unit.end()
            stage = sent.unit.job.call.stage
            said = f"what stage {stage!r} takes was lost with its node or its cluster"
            said += ", and cannot be made again"
            sent.unit.job.failed(ResultsLost(said))
            self._pump()

    def moved(self, job: Job) -> None:
        """Tell how far a job is, and what it waits for if that is not there."""
        if job.call.run.hex not in self.contexts:
            return
        self._host.on_progress(job.progress(None if job.over else self._waits_for(job)))

    def _waits_for(self, job: Job) -> str | None:
        if (down := self._connection.down) and job.waiting():
            return f"the {self.name} cluster is not available: {down}"
        if not self._nodes:
            return f"the {self.name} cluster has no node"
        if problems := capacities.problems(self._nodes):
            return f"no node can compute it ({problems})"
        # It is with the cluster all the same, which may start a node for it.
        short = capacities.shortage(self._nodes, job.wanted)
        if job.worker is None and short is not None:
            asked, most = job.wanted[short], capacities.most(self._nodes, short)
            return f"no node has {asked:g} {short}; the most that one has is {most:g}"
        return None

    # Plugins ---------------------------------------------------------------------------------

    async def prepare(self, plugins: str, wheels: Path) -> Mapping[str, str]:
        """Have a plugin set ready on all nodes of the cluster, and on those that join."""
        self._plugins.pop(plugins, None)  # it is the last one now
        self._plugins[plugins] = wheels
        for old in list(self._plugins)[:-PLUGINS_KEPT]:
            del self._plugins[old]
        return await self._connection.prepare(plugins, wheels, look=False)

    async def verify(self, plugins: str) -> Mapping[str, str]:
        """Compare what nodes have of a plugin set with what they should have."""
        return await self._connection.prepare(plugins, Path(), look=True)

    def _prepare_new(self, before: Sequence[Node]) -> None:
        """Have nodes that joined prepare what others have; who computes there does not wait."""
        known = {node.name for node in before}
        if all(node.name in known for node in self._nodes):
            return
        for plugins, wheels in self._plugins.items():
            self._connection.send("prepare", 0, plugins, str(wheels), False)

    # Results ---------------------------------------------------------------------------------

    async def fetch(self, ref: Ref) -> Any:
        """Return the value of a reference, brought here and unpickled."""
        parts: list[Part] = ref.parts
        found = [payloads.load(payload) for payload in await self._payloads(parts)]
        return found[0] if ref.part is not None else [x for some in found for x in some]

    async def _payloads(self, parts: Sequence[Part]) -> list[bytes]:
        held = [part for part in parts if isinstance(part, Held)]
        brought = iter(await self._fetched(held) if held else ())
        return [next(brought) if isinstance(part, Held) else bytes(part) for part in parts]  # type: ignore[arg-type]  # those of one process never come here

    async def _fetched(self, held: list[Held]) -> list[bytes]:
        found = await self._connection.fetch(held)
        if found is None:
            raise ResultsLost(f"the result was on the {self.name} cluster, and is lost")
        return found

    async def lookup(self, targets: Sequence[str], *, code: str) -> Mapping[str, StageError]:
        """Import targets on the cluster."""
        task, context = task_of(targets), WorkflowRunContext()
        call = Call(UUID(int=0), LOOKUPS, context, task.name, task.type, code=code)
        job = Single(call, task, self.workers_for(call, {}), {"cpus": LEAST_CPUS})
        self.queue(job)
        try:
            problems: dict[str, StageError] = await self.fetch((await job.outcome).ref)
        except asyncio.CancelledError:
            self._connection.send("cancel", 0, self._cancel([job]))
            raise
        return problems

    async def cancel(self, run: UUID, stage: str | None = None) -> None:
        """Stop what is computed for a run, or for one stage of it; return once it has ended."""
        jobs = [*self._jobs, *(sent.unit.job for sent in self._sent.values())]
        meant = (job for job in jobs if job.call.run == run)
        numbers = self._cancel([job for job in meant if stage in (None, job.call.stage)])
        if not numbers:
            return
        self._ending.update(numbers)
        try:
            await self._connection.cancel(numbers)
        finally:
            self._ending.difference_update(numbers)

    def _cancel(self, jobs: Sequence[Job]) -> list[int]:
        """Forget jobs; return the numbers of their orders, which are to be stopped."""
        for job in jobs:
            job.failed(RunCancelled())
            if job in self._jobs:
                self._jobs.remove(job)
        numbers = [number for number, sent in self._sent.items() if sent.unit.job in jobs]
        for number in numbers:
            self._sent.pop(number).unit.end()
        self._pump()  # a gate may have opened
        return numbers

    async def release(self, run: UUID) -> None:
        """Forget a run: its context, and what of it is on the cluster."""
        self.contexts.pop(run.hex, None)
        if self._connection.link is not None:
            self._briefings.release(self._connection.link, run.hex)

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes of the cluster, as they were a moment ago."""
        return sorted(self._nodes, key=lambda node: node.name)

    def describe(self) -> dict[str, Any]:
        """Return where the cluster is, and what it says of itself."""
        facts = {
            **self._connection.facts,
            "nodes": [node.name for node in self._nodes if node.alive],
        }
        down = self._connection.down
        return facts | ({"unavailable": down} if down else {})
