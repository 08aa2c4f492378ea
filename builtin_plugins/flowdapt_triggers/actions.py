"""What is done when a trigger fires, as far as it needs nothing but the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from flowdapt.errors import InvalidResource, nearest
from flowdapt.resources import timestamp
from flowdapt.texts import to_json
from flowdapt_triggers.templates import filled

if TYPE_CHECKING:
    from flowdapt.events import Event
    from flowdapt.runs import Run
    from flowdapt.server import Server
    from flowdapt.triggers import Occasion
    from flowdapt_triggers.resource import TriggerRule


@dataclass(frozen=True, slots=True)
class Firing:
    """What an action is given.

    :param uid: the same whenever the trigger would fire for the same occasion
    :param told: events that are to be stored with the run, for an action that starts one
    """

    trigger: TriggerRule
    occasion: Occasion
    uid: UUID
    told: Sequence[Event] = ()

    def filled(self, value: Any) -> Any:
        """Return a parameter in which the texts have the facts that they name."""
        occasion = self.occasion
        return filled(
            value,
            {
                "event": occasion.event,
                "trigger": self.trigger.name,
                "time": timestamp(occasion.time),
                "input": occasion.input,
            },
        )


def only(parameters: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse parameters that an action does not have."""
    faults = [
        {
            "loc": ("action", "parameters", name),
            "msg": f"unknown parameter{nearest(name, known) or '; there are ' + ', '.join(known)}",
            "type": "value_error",
        }
        for name in parameters
        if name not in known
    ]
    if faults:
        raise InvalidResource("action", faults)


def refused(name: str, fact: str) -> InvalidResource:
    """Return why a parameter is refused."""
    return InvalidResource.at("action", ("action", "parameters", name), fact)


class RunWorkflow:
    """Starts a run: ``workflow``, ``input`` and ``namespace``.

    Without an ``input`` the run gets what the occasion brings, such as the body of a webhook.
    """

    starts_run: ClassVar[bool] = True

    def __init__(self, server: Server, parameters: Mapping[str, Any]) -> None:
        only(parameters, ("workflow", "input", "namespace"))
        self.engine = server.engine
        self.workflow, self.input = parameters.get("workflow"), parameters.get("input")
        self.namespace = parameters.get("namespace")
        if not isinstance(self.workflow, str) or not self.workflow:
            raise refused("workflow", "must be the name or the uid of a workflow")
        if not (self.input is None or isinstance(self.input, dict | str)):
            raise refused("input", "must be an object of named values")
        if not isinstance(self.namespace, str | None):
            raise refused("namespace", f"is {self.namespace!r}, and must be a text")

    async def __call__(self, firing: Firing) -> Run:
        """Start the run; it is not waited for."""
        given = firing.occasion.input if self.input is None else firing.filled(self.input)
        return await self.engine.submit(
            firing.filled(self.workflow),
            given,
            namespace=firing.filled(self.namespace),
            source="trigger",
            uid=firing.uid,
            told=firing.told,
        )


class PrintEvent:
    """Prints the event, and whatever parameters there are; to try out a rule."""

    starts_run: ClassVar[bool] = False

    def __init__(self, server: Server, parameters: Mapping[str, Any]) -> None:
        del server
        self.parameters = parameters

    async def __call__(self, firing: Firing) -> None:
        """Print on standard output."""
        shown = {"trigger": firing.trigger.name, "event": firing.occasion.event}
        text = to_json(shown | dict(firing.filled(self.parameters)))
        print(text.decode(), flush=True)  # noqa: T201 - that is what it is for
