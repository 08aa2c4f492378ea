"""How triggers stand: when they fired, when they are due next, and what went wrong."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from pydantic import WithJsonSchema
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.resources import WIRE_TIME, Workflow, timestamp
from flowdapt.storage import EventQuery
from flowdapt_triggers import history
from flowdapt_triggers.lives import Tally
from flowdapt_triggers.notes import LAST_RUN
from flowdapt_triggers.resource import TriggerRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowdapt_triggers.lives import Live
    from flowdapt_triggers.service import TriggerService

Moment = Annotated[str, WithJsonSchema(WIRE_TIME)]


class TriggerState(TypedDict):
    """How a trigger stands; counts are from the start of the server on.

    :ivar next: when it is due next, where that is known
    :ivar missed: times and events that nothing was done for
    :ivar problem: why it cannot work, or what went wrong last; empty where nothing is wrong
    """

    uid: UUID
    name: str
    type: str
    action: str
    paused: bool
    last: Moment | None
    next: Moment | None
    fired: int
    failed: int
    missed: int
    problem: str


class Firing(TypedDict):
    """What a trigger did at one time, or did not do.

    :ivar due: when it was due, or what it fired for happened
    :ivar run: the uid of the run that began
    :ivar why: it failed, or nothing was done
    :ivar count: how many times were missed; null where they were too many to count
    """

    time: Moment
    what: Literal["fired", "failed", "missed"]
    due: Moment
    run: UUID | None
    why: str
    count: int | None


class TriggerDetail(TriggerState):
    """How a trigger stands, and what it did, the newest first."""

    firings: list[Firing]


class States:
    """Reads how the triggers of a server stand."""

    def __init__(self, service: TriggerService) -> None:
        self._service, self._engine = service, service.engine

    async def list(self) -> list[TriggerState]:
        """Return how all triggers stand, in the order of their creation."""
        workflows = {workflow.name for workflow in await self._engine.list(Workflow)}
        return [self._state(one, workflows) for one in await self._engine.list(TriggerRule)]

    async def get(self, name: str, limit: int) -> TriggerDetail:
        """Return how one stands.

        :param limit: firings, at most
        :raises ResourceNotFound: there is no such trigger
        """
        resource = await self._engine.get(TriggerRule, name)
        workflows = {workflow.name for workflow in await self._engine.list(Workflow)}
        query = EventQuery(
            channels=[history.CHANNEL],
            subject=history.subject(resource),
            newest_first=True,
            limit=limit,
        )
        page = await self._engine.storage.read_events(query)
        firings = [_firing(json.loads(text)) for text in page.entries.values()]
        return {**self._state(resource, workflows), "firings": firings}

    def _state(self, resource: TriggerRule, workflows: set[str]) -> TriggerState:
        uid, spec = resource.metadata.uid, resource.spec
        live = self._service.lives.get(uid)
        problem = self._service.problems.get(uid, "") or (_trouble(live) if live else "")
        wanted = str(spec.action.parameters.get("workflow", ""))
        if spec.action.target == "run_workflow" and not problem and "{{" not in wanted:
            problem = "" if _known(wanted, workflows) else f"there is no workflow {wanted!r}"
        tally = live.tally if live else Tally()
        return {
            "uid": uid,
            "name": resource.name,
            "type": spec.type,
            "action": spec.action.target,
            "paused": spec.paused,
            "last": _moment(tally.last_fired) or resource.metadata.annotations.get(LAST_RUN),
            "next": None if spec.paused else _moment(self._service.next_time(uid)),
            "fired": tally.fired,
            "failed": tally.failed,
            "missed": tally.missed,
            "problem": problem,
        }


def _trouble(live: Live) -> str:
    return live.error or getattr(live.rule, "trouble", "")


def _known(workflow: str, names: set[str]) -> bool:
    if workflow in names:
        return True
    try:
        UUID(workflow)
    except ValueError:
        return False
    return True  # a uid, which is looked for when it fires


def _firing(event: Mapping[str, Any]) -> Firing:
    data = event["data"]
    return {
        "time": event["time"],
        "what": event["type"].rpartition(".")[2],
        "due": data.get("due") or data["last"],
        "run": UUID(data["run"]) if data.get("run") else None,
        "why": data.get("error") or data.get("reason") or "",
        "count": data.get("count", 1),
    }


def _moment(time: datetime | None) -> str | None:
    return None if time is None else timestamp(time)
