"""What a client does with triggers, beside applying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from flowdapt.resources import timestamp
from flowdapt_client.addresses import Named, about, path
from flowdapt_client.binding import Asking, Group
from flowdapt_client.reading import read, read_list
from flowdapt_client.records import Backfilled, Trial, TriggerDetail, TriggerState
from flowdapt_client.steps import Call, Request
from flowdapt_client.streams import Awaiting, Blocking

KIND = "trigger_state"
RESOURCE = "trigger_rule"

_S = TypeVar("_S", bound=Blocking | Awaiting)


class Triggers(Group[_S]):
    """Rules that decide when something is done; one is meant by its name or its uid."""

    @Asking
    def list(self) -> Call[Sequence[TriggerState]]:
        """Return how all triggers stand."""
        return read_list(TriggerState, (yield Request("GET", "/trigger_states", kind=KIND)))

    @Asking
    def get(self, name: Named, *, limit: int = 20) -> Call[TriggerDetail]:
        """Return how a trigger stands, and what it did.

        :param limit: firings, at most
        :raises ResourceNotFound: there is no such trigger
        """
        query = {"limit": limit}
        request = Request("GET", path("trigger_states", name), query=query, kind=KIND)
        return read(TriggerDetail, (yield from about(RESOURCE, name, _answer(request))))

    @Asking
    def pause(self, name: Named) -> Call[None]:
        """Have a trigger not fire; what it misses is not made up.

        :raises ResourceNotFound: there is no such trigger
        """
        yield from _post(name, "pause")

    @Asking
    def resume(self, name: Named) -> Call[None]:
        """Have a trigger fire again, for what comes from now on.

        :raises ResourceNotFound: there is no such trigger
        """
        yield from _post(name, "resume")

    @Asking
    def fire(self, name: Named) -> Call[UUID | None]:
        """Do what a trigger does, now; return the run that began, if it starts any.

        :raises Refused: it did not fire, such as while a run of an earlier firing is in progress
        :raises ResourceNotFound: there is no such trigger
        """
        answer: Any = yield from _post(name, "fire")
        return None if answer["run"] is None else UUID(answer["run"])

    @Asking
    def attempt(
        self,
        trigger: str | Mapping[str, Any],
        *,
        event: Mapping[str, Any] | None = None,
        since: float = 3600.0,
    ) -> Call[Trial]:
        """Return what a trigger would have done on an event, or on all since a time.

        :param trigger: the name of one that is applied, or one as it stands in a file
        :param since: seconds ago; without meaning where there is an event
        """
        body: dict[str, Any] = {"event": event} if event is not None else {"since": since}
        body["name" if isinstance(trigger, str) else "trigger"] = trigger
        return read(Trial, (yield Request("POST", "/trigger_trials", body=body, kind=KIND)))

    @Asking
    def run_period(
        self,
        workflow: Named,
        start: datetime,
        end: datetime,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that users know
    ) -> Call[Backfilled]:
        """Start the run of a workflow for a period, or return the one that there is already.

        :param start: stands in the run's input, as ``end`` does
        :raises ResourceNotFound: there is no such workflow
        """
        body = {"start": timestamp(start), "end": timestamp(end), "input": dict(input or {})}
        request = Request("POST", path("workflows", workflow, "periods"), body=body, kind=KIND)
        return read(Backfilled, (yield from about("workflow", workflow, _answer(request))))


def _post(name: Named, what: str) -> Call[object]:
    request = Request("POST", path("triggers", name, what), kind=KIND)
    return (yield from about(RESOURCE, name, _answer(request)))


def _answer(request: Request) -> Call[object]:
    return (yield request)
