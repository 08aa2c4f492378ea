"""The service that has runs begin with the active plugins, and changes which these are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt_sets import active, paths, preparing
from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.sets import PluginSet, Wheel

from flowdapt.errors import FlowdaptError, InvalidInput, ResourceChanged, ResourceNotFound
from flowdapt.events import ACTOR, Event
from flowdapt.resources import Metadata, now
from flowdapt.services import Service
from flowdapt.snapshots import Plugins
from flowdapt_installer import bundled, changes
from flowdapt_installer.changes import HERE, Plan, Site
from flowdapt_installer.errors import ChangeFailed, ChangeUnderWay
from flowdapt_installer.policies import Policy
from flowdapt_installer.records import Active, Change, ChangeSpec, Records
from flowdapt_installer.warehouse import Warehouse

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

CHANNEL = "plugins"  #: of events about them
COLLECTED = "collected"  #: begins a note that is there while others are fetched
ACTIVATED = "com.event.plugin.set_activated"
INTERRUPTED = "the server ended meanwhile; nothing was changed"
DONE_ALL_THE_SAME = "the server ended just after the plugins were activated"


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
        )
        self._folder = folder
        self._making: Change | None = None
        self._task: asyncio.Task[Change] | None = None
        self._told: set[asyncio.Event] = set()
        self._background: set[asyncio.Task[Mapping[str, str]]] = set()

    async def start(self) -> None:
        """Have runs begin with what is active, and say of changes what became of them."""
        for pointer in await self.records.all_active():
            if text := await self._use(pointer):
                self._later(self.server.executor.prepare(text, self.site.warehouse.folder))
        for change in await self.records.changes():
            if change.spec.state == "running":
                await self._close(change)

    async def stop(self) -> None:
        """Give up a change that is being made."""
        doing = [*self._background, *([self._task] if self._task is not None else [])]
        for task in doing:
            task.cancel()
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
        pointer = await self.records.active(change.spec.namespace)
        if pointer.spec.change == change.metadata.name:
            done = {"state": "done", "notes": (*change.spec.notes, DONE_ALL_THE_SAME)}
        else:
            done = {"state": "interrupted", "error": INTERRUPTED}
        await self.records.save(change, ended_at=now(), **done)

    async def _use(self, pointer: Active) -> str:
        """Have runs begin with a set, which is prepared here if it is not; return it as text."""
        namespace = pointer.spec.namespace
        found = await changes.set_of(self.records, pointer.spec.active)
        if not namespace:
            active.note(self._folder, found)
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
        :raises InvalidInput: nothing is named
        """
        if what in ("install", "remove") and not names:
            raise InvalidInput(f"say what to {what}")
        if self._making is not None:
            raise ChangeUnderWay(self._making.spec.text)
        spec = ChangeSpec(
            what=what, names=tuple(names), namespace=namespace, by=by, dry_run=dry_run
        )
        self._making = Change(metadata=Metadata(name="begins"), spec=spec)  # the only one
        try:
            spec = spec.model_copy(update={"notes": tuple(await self._what_was_before())})
            self._making = await self.records.begin(spec)
        except BaseException:
            self._making = None
            raise
        made = self._making
        self._task = asyncio.create_task(self._see_through(apply=apply, restart=restart))
        return made

    async def _what_was_before(self) -> list[str]:
        """Say what became of the change before, where nobody was told."""
        for change in (await self.records.changes())[-1:]:
            if change.spec.state == "interrupted":
                at = f"{change.spec.text} was interrupted at {change.spec.step}"
                return [f"before this one, {at}: {change.spec.error}"]
        return []

    async def wait(self, name: str) -> Change:
        """Return a change once it has ended."""
        with self.told() as moved:
            while self._making is not None and self._making.metadata.name == name:
                moved.clear()
                await moved.wait()
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

    async def get(self, name: str) -> Change:
        """Return a change as it stands.

        :raises ResourceNotFound: there is none
        """
        if self._making is not None and self._making.metadata.name == name:
            return self._making
        return await self.records.get_change(name)

    async def _tell(self, **facts: Any) -> None:
        """Note how the change goes on; a step is stored, for whoever asks after a crash."""
        assert self._making is not None  # noqa: S101 - only what is made tells
        if "step" in facts:
            self._making = await self.records.save(self._making, **facts)
        else:
            spec = self._making.spec.model_copy(update=facts)
            self._making = self._making.model_copy(update={"spec": spec})
        self._wake()

    def _wake(self) -> None:
        for event in self._told:
            event.set()

    async def _see_through(self, *, apply: bool, restart: bool) -> Change:
        assert self._making is not None  # noqa: S101 - it was just begun
        try:
            await self._make(apply=apply, restart=restart)
            await self._tell(state="done")
        except asyncio.CancelledError:
            await self._tell(state="interrupted", error=INTERRUPTED)
        except FlowdaptError as error:
            await self._tell(state="failed", error=str(error))
        except Exception as error:
            logger.exception("a change of the plugins failed")
            await self._tell(state="failed", error=f"{type(error).__name__}: {error}")
        ended = self._making.spec.model_copy(update={"ended_at": now()})
        try:
            return await self.records.save(self._making, **dict(ended))
        except FlowdaptError:
            logger.exception("how a change of the plugins ended cannot be stored")
            return self._making
        finally:
            self._making = None
            self._wake()

    async def _make(self, *, apply: bool, restart: bool) -> None:
        assert self._making is not None  # noqa: S101 - it was just begun
        asked, site = self._making.spec, self.site
        if asked.what == "rollback":
            plan = Plan(await self.records.active(asked.namespace), {})
            id = await changes.earlier(self.records, plan.old, asked.names)  # noqa: A001
            plan.plugin_set = await changes.set_of(self.records, id)
        else:
            await self._tell(step="resolve")
            plan = await changes.planned(site, asked.what, asked.names, asked.namespace)
            locked = await changes.resolve(site, plan)
            old = await changes.set_of(self.records, plan.old.spec.active)
            await self._tell(**changes.difference(old, locked))
            if asked.dry_run:
                return
            await self._tell(step="collect")
            await changes.collect(site, plan, locked, self._collected)
        old = await changes.set_of(self.records, plan.old.spec.active)
        new = plan.plugin_set
        before = [note for note in self._making.spec.notes if not note.startswith(COLLECTED)]
        await self._tell(step="prepare", **changes.difference(old, new.wheels))
        if asked.dry_run:
            return
        nodes = await changes.ready(site, new)
        await self._tell(
            nodes=nodes, notes=tuple(bundled.notes(new, site.folder, old, plan.wanted))
        )
        changes.refuse(nodes)
        await self._tell(step="activate", active=new.id if new.wheels else "")
        await self._activate(plan)
        if apply and new.wheels:
            await self._tell(step="apply")
            await self._apply(new, old)
        if restart:
            await self._tell(step="restart")
            self.server.restart()

    def _collected(self, wheel: Wheel) -> None:
        assert self._making is not None  # noqa: S101 - while it is made
        notes = [note for note in self._making.spec.notes if not note.startswith(COLLECTED)]
        notes.append(f"{COLLECTED} {wheel.file}")
        spec = self._making.spec.model_copy(update={"notes": tuple(notes)})
        self._making = self._making.model_copy(update={"spec": spec})
        self._wake()

    async def _activate(self, plan: Plan) -> None:
        assert self._making is not None  # noqa: S101 - while it is made
        asked, change = self._making.spec, self._making.metadata.name
        id = asked.active  # noqa: A001 - what sets have
        if id and asked.what != "rollback":
            await self.records.add_set(plan.plugin_set, plan.wanted, changes.PYTHON)
        if id == plan.old.spec.active and asked.what != "rollback":
            return  # what was asked for is there already
        event = Event(
            type=ACTIVATED,
            data={"set": id, "before": plan.old.spec.active, "change": change, "what": asked.text},
            channel=CHANNEL,
            source="plugins",
            subject=f"plugin_set/{id}",
            headers={ACTOR: asked.by} if asked.by else {},
        )
        move = self.records.go_back if asked.what == "rollback" else self.records.activate
        try:
            pointer = await move(plan.old, id, change, event)
        except (ResourceChanged, ResourceNotFound):
            raise ChangeFailed("somebody else changed the plugins meanwhile: try again") from None
        self.server.engine.events.publish(event)
        await self._use(pointer)

    async def _apply(self, new: PluginSet, old: PluginSet) -> None:
        """Apply what the plugins that came bring; what is refused is noted, and harms no other."""
        notes = []
        for resource in bundled.resources(self.server.plugins, new, self.site.folder, old):
            try:
                notes.append(await bundled.apply(self.server.engine, resource))
            except FlowdaptError as error:
                notes.append(f"not applied: {error}")
        assert self._making is not None  # noqa: S101 - while it is made
        with suppress(AttributeError):
            await self._tell(notes=(*self._making.spec.notes, *notes))

    def path(self) -> Path:
        """Return where the sets of this machine are."""
        return self.site.folder
