"""The service that has runs begin with the active plugins, and changes which these are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from flowdapt_sets import active, paths, preparing
from flowdapt_sets.errors import SetUnusable

from flowdapt.errors import InvalidInput, ResourceNotFound
from flowdapt.resources import now
from flowdapt.runs import RunState
from flowdapt.services import Service
from flowdapt.snapshots import Plugins
from flowdapt.storage import RunQuery
from flowdapt_installer import changes
from flowdapt_installer.asking import Site, planned
from flowdapt_installer.changes import HERE
from flowdapt_installer.errors import ChangeUnderWay
from flowdapt_installer.making import Making, Wishes, interrupted
from flowdapt_installer.policies import Policy
from flowdapt_installer.records import Active, Change, ChangeSpec, Records
from flowdapt_installer.warehouse import Warehouse

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)


def _extra(server: Server) -> str:
    """Return the extra of flowdapt that every node has, because it computes for the executor."""
    target = server.settings.services.compute.executor.target
    provider = server.plugins.providers("executors").get(target)
    return provider.extra or "" if provider is not None else ""


class PluginSets(Service):
    """Changes the plugins of a cluster, one change at a time.

    :param options: ``policy`` and ``allow``, and ``prepare_seconds``, how long nodes may take
    """

    order = 40  # before whatever could start runs

    def __init__(self, server: Server, *, prepare_seconds: float = 120.0, **options: Any) -> None:
        super().__init__(server, **options)
        folder = server.settings.app_dir
        self.records = Records(server.storage)
        self.site = Site(
            self.records,
            Warehouse(folder / paths.WHEELS),
            server.executor,
            Policy(**options),
            folder / paths.SETS,
            float(prepare_seconds),
            _extra(server),
        )
        self._folder = folder
        self._making: Making | None = None
        self._last: Making | None = None
        self._beginning = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._told: set[asyncio.Event] = set()
        self._background: set[asyncio.Task[Mapping[str, str]]] = set()

    async def start(self) -> None:
        """Have runs begin with what is active, and say of changes what became of them."""
        for pointer in await self.records.all_active():
            if text := await self._use(pointer):
                self._later(self.server.executor.prepare(text, self.site.warehouse.folder))
        await self._prepare_for_runs()
        for change in await self.records.changes():
            if change.spec.state == "running":
                await self._close(change)

    async def _prepare_for_runs(self) -> None:
        """Have nodes prepare what runs of an earlier server began with, which are gone on with."""
        states = (RunState.PENDING, RunState.RUNNING)
        runs = await self.server.storage.list_runs(RunQuery(states=states))
        active = {plugins.id for plugins in self.server.engine.snapshots.sets.values()}
        for name in {stored.run.plugin_set for stored in runs} - active - {""}:
            with suppress(ResourceNotFound):  # then each stage says so
                found = await changes.set_of(self.records, name)
                work = self.server.executor.prepare(found.to_json(), self.site.warehouse.folder)
                self._later(work)

    async def stop(self) -> None:
        """Give up a change that is being made."""
        doing = [*self._background, *([self._task] if self._task is not None else [])]
        for task in doing:
            task.cancel()
        preparing.give_up()  # a thread that waits for it would hold up the end
        await asyncio.gather(*doing, return_exceptions=True)

    def _later(self, work: Coroutine[Any, Any, Mapping[str, str]]) -> None:
        """Have nodes prepare in the background what was active before this server started."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._prepared)

    def _prepared(self, task: asyncio.Task[Mapping[str, str]]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the active plugins were not prepared on all nodes", exc_info=error)
        elif not task.cancelled():
            for node, problem in task.result().items():
                if problem:
                    logger.error("the active plugins cannot be used on %s: %s", node, problem)

    async def _close(self, change: Change) -> None:
        """Note how a change ended whose server was killed."""
        done = interrupted(change, await self.records.active(change.spec.namespace))
        done["notes"] = (*change.spec.notes, *done.get("notes", ()))
        await self.records.save(change, ended_at=now(), **done)

    async def _use(self, pointer: Active) -> str:
        """Have runs begin with a set, which is prepared here if it is not; return it as text."""
        namespace = pointer.spec.namespace
        found = await changes.set_of(self.records, pointer.spec.active)
        if not namespace:
            try:
                active.note(self._folder, found)
            except OSError as error:  # the storage has it, which counts
                logger.error("programs will not find the active plugins: %s", error)
        if found.wheels:
            try:
                await asyncio.to_thread(
                    preparing.prepare, found, self.site.warehouse.content, self.site.folder
                )
            except SetUnusable as error:  # each stage will say so, too
                logger.error("the active plugins cannot be used here: %s", error)
            text = found.to_json()
            self.server.engine.snapshots.sets[namespace] = Plugins(pointer.spec.active, text)
            return text
        self.server.engine.snapshots.sets.pop(namespace, None)
        return ""

    # What is there ---------------------------------------------------------------------------

    async def nodes(self, namespace: str = "") -> dict[str, str]:
        """Compare what each node has with what is active; say what is wrong, by node."""
        found = await changes.set_of(
            self.records, (await self.records.active(namespace)).spec.active
        )
        if not found.wheels:
            return {HERE: "", **{node.name: "" for node in await self.server.executor.nodes()}}
        here = await asyncio.to_thread(preparing.problem_of, found, self.site.folder)
        there = await self.server.executor.verify(found.to_json())
        return {HERE: here, **there}

    # Changes ---------------------------------------------------------------------------------

    async def begin(
        self,
        what: Any,
        names: Sequence[str] = (),
        *,
        namespace: str = "",
        by: str = "",
        dry_run: bool = False,
        apply: bool = False,
        restart: bool = False,
    ) -> Change:
        """Begin a change, and return it; it goes on whoever waits for it.

        :param what: ``install``, ``upgrade``, ``remove`` or ``rollback``
        :param names: requirements, names, or the id of a set to go back to
        :param apply: also what the plugins bring to be applied
        :param restart: the server, where the plugins bring parts of it
        :raises ChangeUnderWay: another one is being made
        :raises InvalidInput: nothing is named, or something that is not there or no requirement
        """
        if what in ("install", "remove") and not names:
            raise InvalidInput(f"say what to {what}")
        async with self._beginning:
            if self._making is not None:
                raise ChangeUnderWay(self._making.asked.text)
            if what != "rollback":
                await planned(self.site, what, names, namespace, build=False)  # or it is refused
            else:
                await changes.earlier(self.records, await self.records.active(namespace), names)
            notes = tuple(await self._what_was_before())
            facts = {"what": what, "names": tuple(names), "namespace": namespace, "by": by}
            change = await self.records.begin(ChangeSpec(**facts, dry_run=dry_run, notes=notes))
            making = Making(self.server, self.site, change, use=self._use, moved=self._wake)
            self._making = making
            self._task = asyncio.create_task(making.run(Wishes(apply, restart)))
            self._task.add_done_callback(self._made)
        return change

    def _made(self, task: asyncio.Task[None]) -> None:
        self._last, self._making = self._making, None
        self._wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a change of the plugins was not ended", exc_info=error)

    async def _what_was_before(self) -> list[str]:
        """Say what became of the change before, where nobody was told."""
        for change in (await self.records.changes())[-1:]:
            if change.spec.state == "interrupted":
                at = f"{change.spec.text} was interrupted at {change.spec.step}"
                return [f"before this one, {at}: {change.spec.error}"]
        return []

    async def get(self, name: str) -> Change:
        """Return a change as it stands.

        :raises ResourceNotFound: there is none
        """
        for making in (self._making, self._last):  # the last may not have been stored
            if making is not None and making.change.metadata.name == name:
                return making.change
        return await self.records.get_change(name)

    @contextmanager
    def told(self) -> Iterator[asyncio.Event]:
        """Yield what is set whenever a change goes on, and when it ends."""
        event = asyncio.Event()
        self._told.add(event)
        try:
            yield event
        finally:
            self._told.discard(event)

    def _wake(self) -> None:
        for event in self._told:
            event.set()
