"""What a process does with a call, or with a chunk of a mapped one, wherever it runs."""

from __future__ import annotations

import asyncio
import pickle
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from dataclasses import replace
from itertools import pairwise
from typing import Any

from flowdapt.context import WorkflowRunContext, set_run_context
from flowdapt.errors import ResultNotPicklable
from flowdapt.executors import FAILURES_KEPT
from flowdapt.hooks import load
from flowdapt.runs import FailedItem
from flowdapt.texts import to_json
from flowdapt_workers import payloads
from flowdapt_workers.attempts import Attempts, Trial
from flowdapt_workers.calls import Done, Failed, Piece, Task, Value
from flowdapt_workers.failures import Interrupted, reported
from flowdapt_workers.functions import Function, Told, brief
from flowdapt_workers.output import Output
from flowdapt_workers.parts import INLINE_BYTES, Archived, Part, Store

PIECES = 128  #: a list that is mapped over is kept in about so many pieces

Computed = Done | Coroutine[Any, Any, Done]  #: what an async function is computed by is awaited


class Mapping:
    """A mapped stage as a process knows it: what every element shares is loaded once."""

    def __init__(self, task: Task, computing: Computing) -> None:
        self.task, self.function = task, computing.function(task)
        self.attempts = Attempts.of(task.options)
        self._load, context = computing.load, computing.contexts[task.run]
        values = context.input if task.takes_input else {}
        rest = [computing.value(arg) for arg in task.args]
        self.bind = self.function.by_element(rest, values, task.map_on)
        self.input: Sequence[Any] = ()
        if task.map_on is not None:
            given = context.input[task.map_on]
            self.input = given if isinstance(given, list) else list(given)
        self._piece: Piece | None = None
        self._elements: list[Any] = []

    def elements(self, piece: Piece, start: int, count: int) -> Sequence[Any]:
        """Return some elements of a piece, which is kept unpickled while it is in use."""
        if piece.part is None:
            return self.input[piece.first + start : piece.first + start + count]
        if (
            self._piece is None
            or self._piece.first != piece.first
            or self._piece.part != piece.part
        ):
            self._piece, self._elements = piece, self._load(piece.part)
        return self._elements[start : start + count]


class Computing:
    """Computes stages in this process, one after another.

    :param store: where results go
    :param output: is told which stage and element is at work
    """

    def __init__(self, store: Store, output: Output) -> None:
        self.store, self.output = store, output
        self.contexts: dict[str, WorkflowRunContext] = {}
        self._functions: dict[tuple[str, str | bytes], Function] = {}

    def mask(self, run: str | None, text: str) -> str:
        """Take the secrets of a run out of a text; those of all runs where it may be any."""
        runs = self.contexts.copy() if run is None else {run}  # the main thread changes them
        for context in filter(None, map(self.contexts.get, runs)):
            text = context.mask(text)
        return text

    def function(self, task: Task) -> Function:
        """Return what a stage is computed with."""
        key = (task.type, task.target)
        if key not in self._functions or task.options:
            target = (
                task.target if isinstance(task.target, str) else pickle.loads(task.target)  # noqa: S301
            )
            made = load(task.type)().function(target, task.options)
            self._functions[key] = Function(made, task.name)
        return self._functions[key]

    def value(self, value: Value) -> Any:
        """Return an argument, assembled where it is kept in pieces."""
        if value.part is not None:
            return self.load(value.part)
        elements: list[Any] = []
        for piece in value.pieces or ():
            assert piece.part is not None  # noqa: S101 - only the run's input comes without
            elements += self.load(piece.part)
        return elements

    def call(
        self, task: Task, tell: Callable[[int, bytes], object], trial: Trial | None = None
    ) -> Computed:
        """Compute a call; what an async function takes longer for is returned to be awaited.

        :param tell: is given each item that a generator yields, if the list of them is the run's
            result: its number, and it as JSON text
        :param trial: which attempt it is; absent, the first
        """
        told = Told(tell) if task.final else None
        trial = trial or Trial(self.contexts[task.run])
        context = trial.at(task.stage)
        function = self.function(task)
        if task.takes_input:
            arguments = function.by_keyword(context.input)
        else:
            arguments = function.by_position([self.value(arg) for arg in task.args])
        if function.is_async:

            async def work() -> Done:
                set_run_context(context)
                trial.enter()
                return self._kept(task, await function.enter_async(arguments, told), told)

            return work()
        variables = copy_context()
        variables.run(set_run_context, context)
        trial.enter()
        return self._kept(task, variables.run(function.enter, arguments, told), told)

    def _kept(self, task: Task, result: Any, told: Told | None) -> Done:
        """Pickle a result, as later stages and the run want it."""
        what = f"what stage {task.stage!r} returned"
        json = None
        if told is not None:
            text = told.text() if told.count else to_json(result)
            json = self.store.store_text(task.run, text)
        if not task.mapped_on:
            return Done(Value(self._store(task, result, what)), json)
        if isinstance(result, list):
            return Done(Value(pieces=self._pieces(task, result, what)), json)
        whole = self._store(task, result, what)
        try:
            elements = list(result)
        except TypeError:
            return Done(Value(whole), json)  # the stage that maps over it says what is wrong
        return Done(Value(whole, self._pieces(task, elements, what)), json)

    def _pieces(self, task: Task, elements: list[Any], what: str) -> list[Piece]:
        step = max(1, -(-len(elements) // PIECES))
        return [
            Piece(first, len(some), self._store(task, some, what))
            for first in range(0, len(elements), step)
            if (some := elements[first : first + step])
        ]

    def _store(self, task: Task, value: Any, what: str) -> Part:
        segments, places = payloads.dump(value, what), self.contexts[task.run].objects
        archives = places.artifacts if places is not None and task.durable else None
        if archives is not None and payloads.size(segments) > INLINE_BYTES:
            return Archived.of(archives, task.run, segments)
        return self.store.store(task.run, segments, value)

    def load(self, part: Part) -> Any:
        """Return the value of a payload, wherever it is."""
        return payloads.load(bytes(part)) if isinstance(part, Archived) else self.store.load(part)

    def chunk(
        self,
        mapping: Mapping,
        piece: Piece,
        start: int,
        count: int,
        *,
        trial: Trial | None = None,
    ) -> Computed:
        """Compute some elements of a mapped stage; like :meth:`call` where it is async."""
        task, function = mapping.task, mapping.function
        trial = trial or Trial(self.contexts[task.run])
        indexes = piece.indexes(start, count)
        elements = mapping.elements(piece, start, count)
        if function.is_async:
            return self._gather(mapping, trial, dict(zip(indexes, elements, strict=True)))
        context, seconds = trial.at(task.stage), array("f")
        results: dict[int, Any] = {}
        failures, failed, again = list[Failed](), list[FailedItem](), list[int]()
        variables = copy_context()
        variables.run(set_run_context, context)
        trial.enter()
        last = time.perf_counter()
        for index, element in zip(indexes, elements, strict=True):
            if trial.cancelled:  # and the function ended by itself, which not all of them do
                raise Interrupted
            context.item = index  # one context for the chunk: elements come one by one
            self.output.main = (task.run, task.stage, index)
            try:
                results[index] = variables.run(function.enter, mapping.bind(element))
            except Exception as error:
                if mapping.attempts.again_after(trial.failed + 1, error):
                    again.append(index)
                    continue
                failed.append(brief(error, context))
                if len(failed) <= FAILURES_KEPT:
                    failures.append(reported(error, context))
                if not task.allow_partial_failure:
                    break
            finally:
                now = time.perf_counter()
                seconds.append(now - last)
                last = now
        done = self._chunk_kept(task, trial, results, failures, failed=failed, again=again)
        return replace(done, durations=seconds.tobytes())

    def _chunk_kept(
        self,
        task: Task,
        trial: Trial,
        results: dict[int, Any],
        failures: list[Failed],
        *,
        failed: list[FailedItem],
        again: list[int],
    ) -> Done:
        """Pickle results, which are given by the indexes of their elements.

        :param again: indexes of others, whose results come later
        """
        if failed and not task.allow_partial_failure:
            return Done(Value(), failures=tuple(failures[:1]), failed_items=tuple(failed))
        what = f"what stage {task.stage!r} returned"
        try:
            pieces = [
                Piece.of(places, self._store(task, [results[i] for i in places], what))
                for places in _between(list(results), again)
            ]
        except ResultNotPicklable:
            kept = {}
            for index, result in results.items():  # find which, and keep the others
                try:
                    payloads.dump(result, what)
                    kept[index] = result
                except ResultNotPicklable as error:
                    at = trial.at(task.stage, index)
                    failures.append(reported(error, at))
                    failed.append(brief(error, at))
            return self._chunk_kept(task, trial, kept, failures, failed=failed, again=again)
        return Done(
            Value(pieces=pieces),
            failures=tuple(failures),
            failed_items=tuple(failed),
            again=tuple(again),
        )

    async def _gather(self, mapping: Mapping, trial: Trial, elements: dict[int, Any]) -> Done:
        """Compute the elements of an async chunk, all at once."""
        task, seconds = mapping.task, dict.fromkeys(elements, 0.0)
        trial.enter()

        async def one(index: int, element: Any) -> Any:
            set_run_context(trial.at(task.stage, index))
            self.output.belongs_to((task.run, task.stage, index))
            begun = time.perf_counter()
            try:
                return await mapping.function.enter_async(mapping.bind(element))
            finally:
                seconds[index] = time.perf_counter() - begun

        answers = await asyncio.gather(
            *(one(index, element) for index, element in elements.items()), return_exceptions=True
        )
        results: dict[int, Any] = {}
        failures, failed, again = list[Failed](), list[FailedItem](), list[int]()
        for index, answer in zip(elements, answers, strict=True):
            if isinstance(answer, Exception):
                if mapping.attempts.again_after(trial.failed + 1, answer):
                    again.append(index)
                    continue
                at = trial.at(task.stage, index)
                failed.append(brief(answer, at))
                if len(failed) <= FAILURES_KEPT:
                    failures.append(reported(answer, at))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                results[index] = answer
        done = self._chunk_kept(task, trial, results, failures, failed=failed, again=again)
        return replace(done, durations=array("f", seconds.values()).tobytes())


def _between(indexes: list[int], missing: list[int]) -> list[list[int]]:
    """Return indexes, which ascend, in lists with none of the missing ones between them."""
    ends = [*(bisect_left(indexes, index) for index in missing), len(indexes)]
    return [indexes[a:b] for a, b in pairwise([0, *ends]) if a < b or not missing]


def failed_call(task: Task, trial: Trial, error: BaseException) -> Failed:
    """Return what a call raised, and whether it is to be tried again."""
    again = Attempts.of(task.options).again_after(trial.failed + 1, error)
    return reported(error, trial.at(task.stage))._replace(again=again)
