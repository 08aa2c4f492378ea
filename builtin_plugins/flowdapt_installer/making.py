"""One change while it is made: its steps, and who is told of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowdapt_sets.sets import PluginSet, Wheel

from flowdapt.errors import FlowdaptError, ResourceChanged, ResourceExists, ResourceNotFound
from flowdapt.events import ACTOR, Event
from flowdapt.resources import now
from flowdapt_installer import bundled, changes
from flowdapt_installer.asking import Plan, Site, planned
from flowdapt_installer.errors import ChangeFailed
from flowdapt_installer.records import Active, Change, ChangeSpec
from flowdapt_installer.sweeping import sweep

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

CHANNEL = "plugins"  #: of events about them
ACTIVATED = "com.event.plugin.set_activated"
INTERRUPTED = "the server ended meanwhile; nothing was changed"
AFTERWARDS = "the server ended while their resources were applied: ask for the same again"
DONE_ALL_THE_SAME = "the server ended just after the plugins were activated"
COLLECTED = "collected"  #: begins a note that is there while others are fetched


def interrupted(change: Change, pointer: Active) -> dict[str, Any]:
    """Return how a change ended whose server ended: it is done once the pointer has moved."""
    if pointer.spec.change != change.metadata.name:
        return {"state": "interrupted", "error": INTERRUPTED}
    said = AFTERWARDS if change.spec.step == "apply" else DONE_ALL_THE_SAME
    return {"state": "done", "notes": (said,)}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be done beside the change itself.

    :param apply: the resources that the plugins bring are applied
    :param restart: the server is started anew
    """

    apply: bool = False
    restart: bool = False


class Making:
    """Makes a change that was begun.

    :param use: has runs begin with what is active
    :param moved: called whenever it goes on
    """

    def __init__(
        self,
        server: Server,
        site: Site,
        change: Change,
        *,
        use: Callable[[Active], Awaitable[object]],
        moved: Callable[[], None],
    ) -> None:
        self.change = change
        self._server, self._site, self._use, self._moved = server, site, use, moved

    @property
    def asked(self) -> ChangeSpec:
        """How it stands."""
        return self.change.spec

    async def run(self, wishes: Wishes) -> None:
        """See it through; what goes wrong is on record."""
        try:
            await self._make(wishes)
            end: dict[str, Any] = {"state": "done"}
        except asyncio.CancelledError:
            end = await self._interrupted()
        except FlowdaptError as error:
            end = {"state": "failed", "error": str(error)}
        except Exception as error:
            logger.exception("a change of the plugins failed")
            end = {"state": "failed", "error": f"{type(error).__name__}: {error}"}
        end |= {"ended_at": now(), "notes": self._lasting(*end.get("notes", ()))}
        ended = self.change.model_copy(update={"spec": self.asked.model_copy(update=end)})
        try:
            ended = await self._site.records.save(ended)
        except FlowdaptError:
            logger.exception("how a change of the plugins ended cannot be stored")
        self.change = ended  # not before: whoever sees the end may begin the next one
        if end["state"] == "done" and not self.asked.dry_run:
            await self._swept()
        if wishes.restart and end["state"] == "done" and not self.asked.dry_run:
            self._server.restart()

    async def _swept(self) -> None:
        try:
            await sweep(self._site, self._server.storage)
        except Exception:  # it is tried again after the next change
            logger.exception("plugins that nobody uses any more were not removed")

    async def _interrupted(self) -> dict[str, Any]:
        """Say how a change ended that nobody goes on with."""
        pointer = await self._site.records.active(self.asked.namespace)
        return interrupted(self.change, pointer)

    def _note(self, **facts: Any) -> None:
        spec = self.asked.model_copy(update=facts)
        self.change = self.change.model_copy(update={"spec": spec})
        self._moved()

    async def _step(self, step: str, **facts: Any) -> None:
        """Begin a step; it is stored, for whoever asks after a crash."""
        self._note(step=step, **facts)
        self.change = await self._site.records.save(self.change)

    def _lasting(self, *more: str) -> tuple[str, ...]:
        """Return the notes, without those that only tell how far it is."""
        notes = [note for note in self.asked.notes if not note.startswith(COLLECTED)]
        return (*notes, *more)

    def _collected(self, wheel: Wheel) -> None:
        self._note(notes=self._lasting(f"{COLLECTED} {wheel.file}"))

    # The steps -------------------------------------------------------------------------------

    async def _make(self, wishes: Wishes) -> None:
        plan, old = await self._planned()
        if self.asked.dry_run:
            return
        new, site = plan.plugin_set, self._site
        await self._step("prepare", **changes.difference(old, new.wheels))
        nodes = await changes.ready(site, new)
        told = bundled.notes(new, site.folder, old, plan.wanted)
        self._note(nodes=nodes, notes=self._lasting(*told))
        changes.refuse(nodes)
        await self._step("activate", active=new.id if new.wheels else "")
        await self._activate(plan)
        if wishes.apply and new.wheels:
            await self._step("apply")
            # Also what was asked for and is there already: nobody applied it, or not all of it.
            rest = PluginSet(tuple(w for w in old.wheels if w.name not in plan.fresh))
            self._note(notes=self._lasting(*[note async for note in self._applied(new, rest)]))

    async def _planned(self) -> tuple[Plan, PluginSet]:
        """Return what is to be active, all its wheels at hand, and what is."""
        asked, site = self.asked, self._site
        if asked.what == "rollback":
            plan = Plan(await site.records.active(asked.namespace), {})
            target = await changes.earlier(site.records, plan.old, asked.names)
            plan.plugin_set = await changes.set_of(site.records, target)
            old = await changes.set_of(site.records, plan.old.spec.active)
            self._note(**changes.difference(old, plan.plugin_set.wheels))
            return plan, old
        await self._step("resolve")
        plan = await planned(site, asked.what, asked.names, asked.namespace)
        locked = await changes.resolve(site, plan)
        old = await changes.set_of(site.records, plan.old.spec.active)
        self._note(**changes.difference(old, locked))
        if not asked.dry_run:
            await self._step("collect")
            await changes.collect(site, plan, locked, self._collected)
        return plan, old

    async def _activate(self, plan: Plan) -> None:
        """Move the pointer: the one write that a change comes to."""
        asked, records = self.asked, self._site.records
        if asked.what != "rollback":
            if asked.active:
                await records.add_set(plan.plugin_set, plan.wanted, changes.PYTHON)
            if asked.active == plan.old.spec.active:
                return  # what was asked for is there already
        event = self._event(plan.old.spec.active)
        move = records.go_back if asked.what == "rollback" else records.activate
        try:
            pointer = await move(plan.old, asked.active, self.change.metadata.name, event)
        except (ResourceChanged, ResourceExists, ResourceNotFound):
            raise ChangeFailed("somebody else changed the plugins meanwhile: try again") from None
        self._server.engine.events.publish(event)
        await self._use(pointer)

    def _event(self, before: str) -> Event:
        asked, change = self.asked, self.change.metadata.name
        facts = {"set": asked.active, "before": before, "change": change, "what": asked.text}
        return Event(
            type=ACTIVATED,
            data=facts | {"namespace": asked.namespace},
            channel=CHANNEL,
            source="plugins",
            subject=f"plugin_set/{asked.active}",
            headers={ACTOR: asked.by} if asked.by else {},
        )

    async def _applied(self, new: PluginSet, old: PluginSet) -> Any:
        """Apply what the plugins that came bring; what is refused harms no other."""
        found: Iterable[dict[str, Any]] = bundled.resources(
            self._server.plugins, new, self._site.folder, old
        )
        for resource in found:
            try:
                yield await bundled.apply(self._server.engine, resource)
            except FlowdaptError as error:
                yield f"not applied: {error}"
