"""What is said of an event in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowdapt.errors import ResourceNotFound, nearest
from flowdapt.events import (
    RESOURCE_CHANGED,
    RESOURCE_CREATED,
    RESOURCE_DELETED,
    RUN_FINISHED,
    RUN_STARTED,
    STAGE_CHANGED,
)
from flowdapt_cli.errors import CommandError
from flowdapt_cli.output import note
from flowdapt_cli.times import clock, took

if TYPE_CHECKING:
    from flowdapt.client import Client, Event, Gap

RESOURCES = (RESOURCE_CREATED, RESOURCE_CHANGED, RESOURCE_DELETED)
KNOWN = (RUN_STARTED, RUN_FINISHED, STAGE_CHANGED, *RESOURCES)

_WIDTH = len("workflow_finished")


def types(words: Sequence[str]) -> list[str]:
    """Return the types that are meant: whole ones, or the last words of those that are known.

    :raises CommandError: no type ends like that
    """
    short = {known.rpartition(".")[2]: known for known in KNOWN}
    for word in words:
        if "." not in word and word not in short:
            near = nearest(word, short) or f"; there are {', '.join(short)}"
            raise CommandError(f"no type of events {word!r}{near}")
    return [short.get(word, word) for word in words]


def missed(gap: Gap) -> None:
    """Say what happened without being told, because the server does not keep it any more."""
    note(f"not all events between {gap.after} and {gap.before} are kept any more")


class Lines:
    """Says of each event one line; events of stages know their run by its uid, people by its name.

    :param client: asked for the name of a run whose beginning was not among the events
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._names: dict[str, str] = {}  # of runs that go on

    def of(self, event: Event) -> str:
        """Return the line."""
        data = event.data if isinstance(event.data, dict) else {}
        time = clock(event.time.isoformat())
        kind = event.type.rpartition(".")[2]
        about = self._about(event.type, data) or event.subject or ""
        return f"{time}  {kind:{_WIDTH}}  {about}".rstrip()

    def _about(self, kind: str, data: dict[str, Any]) -> str:
        if kind == RUN_STARTED:
            self._names[data["uid"]] = data["name"]
            return f"run {data['name']} of {data['workflow']}"
        if kind == RUN_FINISHED:
            self._names.pop(data["uid"], None)
            failure = data.get("failure")
            why = f": {failure['type']}: {failure['message']}" if failure else ""
            return f"run {data['name']} of {data['workflow']} {data['state']}{why}"
        if kind == STAGE_CHANGED:
            return f"run {self._name(data['run'])} of {data['workflow']}: {stage(data)}"
        if kind in RESOURCES:
            return f"{data['kind']} {data['name']}, generation {data['generation']}"
        return ""

    def _name(self, run: str) -> str:
        if run not in self._names:
            try:
                self._names[run] = self.client.runs.get(run).name
            except ResourceNotFound:  # it was deleted
                return run
        return self._names[run]


def stage(record: dict[str, Any]) -> str:
    """Return how a stage stands."""
    text = f"{record.get('stage')} {record.get('state')}{items(record)}"
    return f"{text} in {took(record)}" if took(record) else text


def items(record: dict[str, Any]) -> str:
    """Return how many items of a stage are done, to stand behind what is said of it."""
    if record.get("items") is None:
        return ""
    failed = f", {record['items_failed']:,} failed" if record.get("items_failed") else ""
    return f" {record.get('items_done', 0):,}/{record['items']:,} items{failed}"
