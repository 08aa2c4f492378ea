"""What a client does with the plugins of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from flowdapt_client.addresses import path
from flowdapt_client.binding import Asking, Group, Iterating
from flowdapt_client.hearing import AWAY_SECONDS, Hearing
from flowdapt_client.plugin_records import PluginChange, PluginNode, PluginSet
from flowdapt_client.reading import read, read_list, read_text
from flowdapt_client.steps import Call, Item, Items, Request
from flowdapt_client.streams import Awaiting, Blocking

KIND = "plugin_set"

_S = TypeVar("_S", bound=Blocking | Awaiting)

What = Literal["install", "upgrade", "remove", "rollback"]


class Plugins(Group[_S]):
    """Plugins on every node of a cluster: what is active, and changes of that."""

    @Asking
    def sets(self) -> Call[Sequence[PluginSet]]:
        """Return all sets that were ever active, the oldest first."""
        return read_list(PluginSet, (yield Request("GET", "/plugin_sets", kind=KIND)))

    @Asking
    def nodes(self, *, namespace: str = "") -> Call[Sequence[PluginNode]]:
        """Return what each node has of what is active, compared file by file."""
        query = {"namespace": namespace or None}
        request = Request("GET", "/plugin_nodes", query=query, kind=KIND)
        return read_list(PluginNode, (yield request))

    @Asking
    def changes(self) -> Call[Sequence[PluginChange]]:
        """Return all changes, the oldest first."""
        return read_list(PluginChange, (yield Request("GET", "/plugin_changes", kind=KIND)))

    @Asking
    def send(self, file: str, content: bytes) -> Call[str]:
        """Send a wheel, and return the requirement that stands for it.

        :param file: the wheel's name
        """
        where = path("plugin_wheels", file)
        answer: Any = yield Request("PUT", where, content=content, kind=KIND)
        return str(answer["requirement"])

    @Asking
    def begin(
        self,
        what: What,
        names: Sequence[str] = (),
        *,
        namespace: str = "",
        dry_run: bool = False,
        apply: bool = False,
        restart: bool = False,
    ) -> Call[PluginChange]:
        """Begin a change, and return it as it begins; it goes on whoever waits for it.

        :param names: requirements, names of what is installed, or the id of a set to go back to
        :param apply: also the resources that the plugins bring
        :param restart: the server, once what runs has ended
        :raises Refused: another change is under way, or a name is none
        """
        body: dict[str, Any] = {"what": what, "names": [*names], "namespace": namespace}
        body |= {"dry_run": dry_run, "apply": apply, "restart": restart}
        answer = yield Request("POST", "/plugin_changes", body=body, kind=KIND)
        return read(PluginChange, answer)

    @Iterating
    def follow(self, change: str, *, away: float | None = AWAY_SECONDS) -> Items[PluginChange]:
        """Yield a change whenever it goes on; the last one has ended.

        :param change: its id
        :param away: seconds that the server may be away
        """
        where = path("plugin_changes", change)
        hearing = Hearing(Request("GET", where, kind=KIND), away=away)
        ended = False
        while not ended:
            message = yield from hearing.message()
            if message.event in ("change", "end"):
                yield Item(read_text(PluginChange, message.data))
            ended = message.event == "end"
