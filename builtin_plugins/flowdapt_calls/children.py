"""The server's side: runs that stages start, found again when the same stage asks again."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from flowdapt.errors import Draining, ResourceExists, ResourceNotFound
from flowdapt.executors import Ask
from flowdapt.policies import Policy
from flowdapt.runs import Run, RunState
from flowdapt.texts import to_json
from flowdapt_calls.calling import KIND
from flowdapt_calls.errors import CallsTooDeep, CallWaitsForItself

if TYPE_CHECKING:
    from flowdapt.engine import Engine
    from flowdapt.storage import StoredRun

MOST_PARENTS = 20  #: how many runs may stand above one that is started
SOURCE = "manual"  #: of the words that clients know, the one for runs that code starts


class Children(Policy):
    """Answers stages that call workflows."""

    def __init__(self, engine: Engine | None) -> None:
        super().__init__(engine)
        self._waiting: Counter[UUID] = Counter()
        self._cancelling: dict[UUID, asyncio.Task[StoredRun]] = {}
        if engine is not None:
            engine.answers[KIND] = self.answer

    async def answer(self, ask: Ask) -> bytes:
        """Start the run that is asked for, or find it; wait for its end, if that is asked for."""
        about = json.loads(ask.about)
        try:
            run = await self._run(ask, about)
            if about["wait"] and run.state is RunState.PENDING:
                await self._check_turn(run)
            stored = await self._ended(run) if about["wait"] else None
        except Draining:  # and another server goes on with the stage, which then asks again
            await asyncio.get_running_loop().create_future()
            raise
        facts = {"run": run.name, "uid": str(run.uid), "workflow": run.workflow}
        if stored is None:
            return to_json(facts)
        if stored.run.state is RunState.FINISHED:
            return to_json(facts)[:-1] + b', "result": ' + (stored.result or b"null") + b"}"
        failure = stored.run.failure
        said = ("RunCancelled", "") if failure is None else (failure.type, failure.message)
        return to_json({**facts, "failure": said})

    async def _run(self, ask: Ask, about: dict[str, Any]) -> Run:
        assert self.engine is not None  # noqa: S101 - else nobody asks
        parent = await self.engine.find_run(ask.run)
        call = {name: about[name] for name in ("workflow", "namespace", "key", "count")}
        if about["key"] is None:
            call["input"] = sha256(to_json(about["input"])).hexdigest()
        said = to_json({"stage": ask.stage, "item": ask.item, **call}).decode()
        for attempt in itertools.count():
            uid = uuid5(parent.uid, f"{said} {attempt}")
            if uid in self._cancelling:  # as an attempt before this one waits for it no more
                await asyncio.wait([self._cancelling[uid]])
            try:
                run = await self._found(uid) or await self._started(uid, parent, about)
            except ResourceExists:  # it was asked for twice at once
                run = await self.engine.find_run(uid)
            if run.state not in (RunState.FAILED, RunState.CANCELLED):
                return run
        raise AssertionError

    async def _found(self, uid: UUID) -> Run | None:
        assert self.engine is not None  # noqa: S101
        try:
            return await self.engine.find_run(uid)
        except ResourceNotFound:
            return None

    async def _started(self, uid: UUID, parent: Run, about: dict[str, Any]) -> Run:
        assert self.engine is not None  # noqa: S101
        above = [parent, *await self._above(parent)]
        if len(above) > MOST_PARENTS:
            names = [run.workflow for run in reversed(above)]
            raise CallsTooDeep([*names, about["workflow"]], MOST_PARENTS)
        return await self.engine.submit(
            about["workflow"],
            about["input"],
            namespace=about["namespace"] or parent.namespace,
            source=SOURCE,
            uid=uid,
            parent=parent.uid,
        )

    async def _check_turn(self, run: Run) -> None:
        """Give up a run that waits for its turn behind one that waits for it.

        :raises CallWaitsForItself: saying so
        """
        assert self.engine is not None  # noqa: S101
        for above in await self._above(run):
            if above.workflow_uid == run.workflow_uid:
                await self.engine.cancel(run.uid)
                raise CallWaitsForItself(run.workflow, above.name)

    async def _above(self, run: Run) -> list[Run]:
        """Return the runs above one, the nearest first, as far as these are stored."""
        above, parent = list[Run](), run.parent
        while parent is not None and (found := await self._found(parent)) is not None:
            above.append(found)
            parent = found.parent
        return above

    async def _ended(self, run: Run) -> StoredRun:
        assert self.engine is not None  # noqa: S101
        self._waiting[run.uid] += 1
        left = True
        try:
            stored = await self.engine.wait(run.uid)
            left = False
            return stored
        finally:
            self._waiting[run.uid] -= 1
            if not self._waiting[run.uid]:
                del self._waiting[run.uid]
                if left:
                    self._cancel(run)

    def _cancel(self, run: Run) -> None:
        assert self.engine is not None  # noqa: S101
        cancelling = asyncio.ensure_future(self.engine.cancel(run.uid))
        self._cancelling[run.uid] = cancelling
        cancelling.add_done_callback(partial(self._cancelled, run.uid))

    def _cancelled(self, run: UUID, task: asyncio.Task[StoredRun]) -> None:
        self._cancelling.pop(run, None)
        if not task.cancelled():
            task.exception()  # the server may be stopping, or the run be gone
