"""What is said of an event in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowdapt.errors import nearest
from flowdapt.events import RUN_FINISHED, RUN_STARTED, STAGE_CHANGED
from flowdapt_cli.errors import CommandError
from flowdapt_cli.times import clock, took

if TYPE_CHECKING:
    from flowdapt.client import Event

RESOURCES = tuple(f"com.event.resource.{change}" for change in ("created", "changed", "deleted"))
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


def line(event: Event) -> str:
    """Return what is said of an event."""
    data = event.data if isinstance(event.data, dict) else {}
    time = clock(event.time.isoformat())
    kind = event.type.rpartition(".")[2]
    return f"{time}  {kind:{_WIDTH}}  {_subject(event.type, data) or event.subject or ''}".rstrip()


def _subject(kind: str, data: dict[str, Any]) -> str:
    if kind == RUN_STARTED:
        return f"run {data.get('name')} of {data.get('workflow')}"
    if kind == RUN_FINISHED:
        failure = data.get("failure") or {}
        why = f": {failure.get('type')}: {failure.get('message')}" if failure else ""
        return f"run {data.get('name')} of {data.get('workflow')} {data.get('state')}{why}"
    if kind == STAGE_CHANGED:
        return f"run {data.get('run')} of {data.get('workflow')}: {stage(data)}"
    if kind in RESOURCES:
        return f"{data.get('kind')} {data.get('name')}, generation {data.get('generation')}"
    return ""


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
