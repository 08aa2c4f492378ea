"""A process of Ray that computes orders, one after another, for one server and one snapshot."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flowdapt_workers import importing, payloads
from flowdapt_workers.attempts import Trial
from flowdapt_workers.calls import Done, Failed, Order
from flowdapt_workers.computing import Computed, Computing, Mapping, failed_call
from flowdapt_workers.diversion import Diversion
from flowdapt_workers.failures import Interrupted, reported
from flowdapt_workers.output import Output, end_lines
from flowdapt_workers.uses import Peak

from flowdapt.context import WorkflowRunContext
from flowdapt_ray import names
from flowdapt_ray.asking import OrderAsks
from flowdapt_ray.blocks import Block
from flowdapt_ray.interrupts import Interrupts, broke_an_import
from flowdapt_ray.items import Items
from flowdapt_ray.loops import Doing
from flowdapt_ray.posting import Post
from flowdapt_ray.shelves import Shelf

CONTEXTS = 8  #: runs whose context is kept, in case more of them comes
MAPPINGS = 4  #: mapped stages that are kept loaded
LONG_SECONDS = 0.1  #: an order that takes longer is told of before its answer
IDLE_SECONDS = 5.0  #: after this time without orders, what they took is let go of
STAY_SECONDS = 60.0  #: how long this process stays without orders, where Ray wants fewer


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to an order.

    :param posted: how many messages of it were sent before
    :param held: there is a block
    """

    answer: Done | Failed
    pid: int
    node: str
    posted: int
    held: bool


class Worker:
    """The state of a process that computes.

    :param code: a snapshot of user modules, pickled; empty where there are none
    :param log_level: of the records of the logging module that are captured
    """

    def __init__(self, code: bytes, log_level: int) -> None:
        import ray

        self._pid = os.getpid()
        self._node = ray.get_runtime_context().get_node_id()
        if code:
            importing.activate(*pickle.loads(code))  # noqa: S301 - written by our server
        self._post = Post(os.environ[names.SERVER])
        self._items = Items(self._post)
        self._peak = Peak()
        self._shelf, self._interrupts = Shelf(), Interrupts()
        self._output = Output(self._send_log, self._mask)
        self._at_work = Computing(self._shelf, self._output)
        self._contexts: OrderedDict[str, WorkflowRunContext] = OrderedDict()
        self._mappings: OrderedDict[int, Mapping | Failed] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beside = 0.0  # processor seconds that an order took in there
        self._diversion: Diversion | None = None
        self._output.install(log_level)
        self._anchor: Any = None
        self._turn, self._busy = threading.Lock(), threading.Event()
        self._computed = 0  # the number of the order at work, while there is one
        threading.Thread(target=self._watch_time, daemon=True, name="long orders").start()

    def _send_log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        self._post.send("log", run, stage, lines, count)

    def _mask(self, run: str | None, text: str) -> str:
        return self._at_work.mask(run, text)

    # Time ------------------------------------------------------------------------------------

    def _watch_time(self) -> None:
        """Tell of orders that take long; let go of memory where none come."""
        seen = told = 0
        idle = 0.0
        while True:
            self._busy.wait()
            time.sleep(LONG_SECONDS)
            with self._turn:
                number = self._computed
                idle = 0.0 if number else idle + LONG_SECONDS
                if idle > IDLE_SECONDS:
                    self._mappings.clear()
                if idle > STAY_SECONDS:
                    self._anchor = None
                    self._busy.clear()
            if number and number == seen != told:
                self._post.send_of(number, "started", self._pid, self._node)
                told = number
            seen = number

    def _at(self, number: int) -> None:
        with self._turn:
            self._computed = number
            if number:
                self._anchor = self._anchor or _anchor()
                self._busy.set()

    # Orders ----------------------------------------------------------------------------------

    def compute(
        self, order: Order, context: bytes, blocks: Sequence[Block]
    ) -> tuple[Answered, Block | None]:
        """Compute an order.

        :param context: the payload of its run's context
        :param blocks: those that it needs
        """
        self._post.begin(order.number)
        self._at(order.number)
        try:
            self._shelf.begin(order.block, dict(zip(order.needs, blocks, strict=True)))
            self._output.main = (order.task.run, order.task.stage, None)
            answer = self._attempt(order, context)
            block = self._shelf.end()
            self._flush()
        finally:
            self._output.main = None
            self._at(0)
            posted = self._post.end()
        if not isinstance(answer, Done):
            block = None
        if os.getpid() != self._pid:
            os._exit(0)  # a child that a stage forked came out of it; its parent answers
        return Answered(answer, self._pid, self._node, posted, block is not None), block

    def _attempt(self, order: Order, block: bytes) -> Done | Failed:
        trial = Trial(WorkflowRunContext())  # until the run's own is known
        self._peak.begin()
        self._beside, is_async = 0.0, False
        cpu, begun = time.thread_time(), time.perf_counter()
        try:
            trial = Trial(self._know(order.task.run, block), order.attempt, order.failed)
            trial.asks = asks = OrderAsks(self._post, order.number)
            if order.limited:
                trial.entered = partial(self._post.send_of, order.number, "entered")
            with self._interrupts.raised(trial.cancel):
                done = self._computing(order, trial)
            is_async = asyncio.iscoroutine(done)
            if asyncio.iscoroutine(done):
                done = self._awaited(done, trial, order, asks)
        except BaseException as error:
            if broke_an_import(error):
                os._exit(1)  # what is computed here next would find them; nobody waits for this
            done = failed_call(order.task, trial, error)
        cpu = self._beside + time.thread_time() - cpu
        used: dict[str, Any] = {"seconds": time.perf_counter() - begun, "cpu_seconds": cpu}
        used["peak_memory_bytes"] = self._peak.end()
        if isinstance(done, Failed):
            return done._replace(**used)
        return replace(done, is_async=is_async, **used)

    def _know(self, run: str, context: bytes) -> WorkflowRunContext:
        """Return the context of a run, as it was loaded first."""
        if run not in self._contexts:
            self._contexts[run] = self._at_work.contexts[run] = loaded = payloads.load(context)
            if self._diversion is None and callable(vars(loaded)["config"]):  # it is sealed
                self._diversion = Diversion(partial(self._mask, None))
        self._contexts.move_to_end(run)
        while len(self._contexts) > CONTEXTS:
            gone, _ = self._contexts.popitem(last=False)
            del self._at_work.contexts[gone]
        return self._contexts[run]

    def _flush(self) -> None:
        """Send on all that was written so far, before the answer."""
        self._items.flush()
        end_lines()
        self._output.flush()
        if self._diversion is not None:
            self._diversion.flush()

    def _computing(self, order: Order, trial: Trial) -> Computed | Failed:
        if order.piece is None:

            def tell(number: int, text: bytes) -> None:
                if trial.cancelled:  # a generator ends where it yields, and need not be interrupted
                    raise Interrupted
                self._items.tell(number, text)

            return self._at_work.call(order.task, tell, trial)
        mapping = self._mapping(order)
        if not isinstance(mapping, Mapping):
            return mapping
        return self._at_work.chunk(mapping, order.piece, order.start, order.count, trial=trial)

    def _mapping(self, order: Order) -> Mapping | Failed:
        """Return a mapped stage, which is loaded once for many chunks, or why it cannot be."""
        number, task = order.mapping, order.task
        if number not in self._mappings:
            try:
                self._mappings[number] = Mapping(task, self._at_work)
            except Exception as error:
                context = self._contexts[task.run].at(task.stage)
                self._mappings[number] = reported(error, context)
        found = self._mappings[number]
        self._mappings.move_to_end(number)
        while len(self._mappings) > MAPPINGS:
            self._mappings.popitem(last=False)
        return found

    def _awaited(
        self, work: Coroutine[Any, Any, Done], trial: Trial, order: Order, asks: OrderAsks
    ) -> Done:
        """Do async work in the event loop of this process, which another thread runs.

        The main thread waits: for Ray, where the work does nothing else, see :class:`OrderAsks`.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name="async").start()
        variables = copy_context()
        variables.run(self._output.belongs_to, (order.task.run, order.task.stage, None))
        doing = Doing(self._loop, work, variables, asks.done)
        with self._interrupts.cancelling(self._loop, doing.cancel, trial.cancel):
            asks.stand_by(doing.done)
        self._beside += doing.cpu_seconds
        return doing.result()


def _anchor() -> Any:
    """Return what keeps this process alive, as long as it is held: an object that is its own.

    Beyond one for each processor, Ray ends processes that had nothing to do for a second, and to
    start another one takes several. Where two snapshots of code or two servers take turns, that
    would be at every turn.
    """
    import ray

    return ray.put(b"")
