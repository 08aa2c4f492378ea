"""What happens on a server: what is kept of it, and what comes from now on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, TypeVar

from flowdapt.events import RUN_FINISHED
from flowdapt_client.addresses import OfRun, name_of, run_path
from flowdapt_client.binding import Group, Iterating
from flowdapt_client.errors import NoServer, Refused
from flowdapt_client.hearing import AWAY_SECONDS, OPENED, Hearing
from flowdapt_client.reading import read, read_text
from flowdapt_client.records import Event, EventPage, Gap
from flowdapt_client.steps import Item, Items, Request
from flowdapt_client.streams import Awaiting, Blocking

PAGE = 1000  #: events in one answer

_S = TypeVar("_S", bound=Blocking | Awaiting)


class Events(Group[_S]):
    """The events of a server.

    All that is asked for has to fit: the workflow's name, the run's name or uid, the channel, and
    one of the types.
    """

    @Iterating
    def list(
        self,
        *,
        after: int = 0,
        order: Literal["newest", "oldest"] = "oldest",
        limit: int | None = None,
        workflow: str | None = None,
        run: OfRun | None = None,
        types: Collection[str] = (),
        channel: str | None = None,
    ) -> Items[Event]:
        """Yield the events that are kept; more are asked for as they are wanted.

        :param after: only those behind this position, in this order; 0 for all
        :param order: which come first
        :param limit: at most so many
        """
        query = {**_query(workflow, run, types, channel), "order": order}
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            asked = {**query, "after": after, "limit": size}
            page = read(EventPage, (yield Request("GET", "/events", query=asked)))
            for event in page.events:
                yield Item(event)
            if page.next == after:
                return
            after = page.next
            left = None if left is None else left - len(page.events)

    @Iterating
    def follow(
        self,
        *,
        after: int | None = None,
        workflow: str | None = None,
        run: OfRun | None = None,
        types: Collection[str] = (),
        channel: str | None = None,
        opened: Callable[[], object] | None = None,
        lost: Callable[[], object] | None = None,
        missed: Callable[[Gap], object] | None = None,
        away: float | None = AWAY_SECONDS,
    ) -> Items[Event]:
        """Yield events as they happen, until the stream is closed; a lost connection is made anew.

        :param after: first those behind this position that are kept; absent, only new ones
        :param opened: called when the connection was made, and when it was made anew; what is
            looked up from then on misses nothing. Where it raises :class:`NoServer`, or tells of
            trouble of the server's, the connection counts as lost.
        :param lost: called when the connection was lost, and at each attempt that fails
        :param missed: called where some of what happened meanwhile is not kept any more
        :param away: how many seconds the server may be away before that is an error; ``None`` for
            as long as it takes
        """
        query = _query(workflow, run, types, channel)
        request = Request("GET", "/events", query=query)
        return followed(request, after, away, opened=opened, lost=lost, missed=missed)

    @Iterating
    def of_run(self, run: OfRun, *, away: float | None = AWAY_SECONDS) -> Items[Event]:
        """Yield all events of a run, from its beginning until it has ended.

        :param away: as of :meth:`follow`
        """
        return followed(Request("GET", run_path(run, "events")), None, away, last=RUN_FINISHED)


def followed(
    request: Request,
    after: int | None,
    away: float | None,
    *,
    opened: Callable[[], object] | None = None,
    lost: Callable[[], object] | None = None,
    missed: Callable[[Gap], object] | None = None,
    last: str = "",
) -> Items[Event]:
    """Yield the events of a stream.

    :param last: the type of the event that is the last one
    """
    position = "" if after is None else str(after)
    hearing = Hearing(request, after=position, away=away, told=lost, missed=missed)
    while True:
        message = yield from hearing.message()
        if message is OPENED:
            try:
                if opened:
                    opened()
            except (NoServer, Refused) as error:
                yield from hearing.lost(error)  # it stopped meanwhile
        else:
            event = read_text(Event, message.data)
            yield Item(event)
            if event.type == last:
                return


def _query(
    workflow: str | None, run: OfRun | None, types: Collection[str], channel: str | None
) -> dict[str, Any]:
    name = None if run is None else name_of(run)
    return {"workflow": workflow, "run": name, "type": [*types], "channel": channel}
