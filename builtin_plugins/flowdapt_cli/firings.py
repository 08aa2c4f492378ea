"""What people read of triggers, made of what a server tells."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt_cli import documents
from flowdapt_cli.errors import CommandError
from flowdapt_cli.kinds import kinds
from flowdapt_cli.times import DAY, age, at, clock, duration, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowdapt.plugins import Plugins

Facts = dict[str, Any]


def row(state: Mapping[str, Any]) -> Facts:
    """Return what a table says of a trigger."""
    return {
        "name": state["name"],
        "type": state["type"],
        "action": state["action"],
        "last": age(state["last"]),
        "next": "paused" if state["paused"] else until(state["next"]),
        "fired": state["fired"],
        "failed": state["failed"],
        "missed": state["missed"],
        "problem": state["problem"],
    }


def until(text: str | None) -> str:
    """Return in how long a time will come, or when it is if that is long."""
    if not text:
        return ""
    seconds = (at(text) - datetime.now(UTC)).total_seconds()
    return f"in {duration(max(0.0, seconds))}" if seconds < DAY else clock(text)


def facts_of(state: Mapping[str, Any]) -> Facts:
    """Return all that is known of a trigger but its firings."""
    times = {name: clock(state[name]) if state[name] else "" for name in ("last", "next")}
    return {name: value for name, value in {**state, **times}.items() if name != "firings"}


def firing_row(firing: Mapping[str, Any]) -> Facts:
    """Return what a table says of a firing."""
    count = firing["count"]
    times = "" if count == 1 else f" ({count or 'very many'} times)"
    return {
        "due": clock(firing["due"]),
        "what": firing["what"],
        "run": firing["run"] or "",
        "why": f"{firing['why']}{times}",
    }


def tried_row(firing: Mapping[str, Any]) -> Facts:
    """Return what a table says of what would have been done."""
    return {
        "time": clock(firing["time"]),
        "event": firing["type"] or "",
        "about": firing["subject"] or "",
        "action": firing["action"]["target"],
        "parameters": firing["action"]["parameters"],
        "error": firing["error"],
    }


def asked(plugins: Plugins, rule: str, *, event: str | None, since: str) -> dict[str, Any]:
    """Return what a trial is asked for.

    :param rule: a trigger's name, or a path
    :raises CommandError: a file holds no trigger, or no event
    """
    found: Facts = {"trigger": rule}
    if "/" in rule or rule.endswith((".yaml", ".yml", ".json")):
        read = [
            one
            for one in documents.read([rule], kinds(plugins))
            if one.resource.kind == "trigger_rule"
        ]
        if len(read) != 1:
            raise CommandError(f"{rule} holds {len(read)} triggers, and one can be tried")
        found["trigger"] = read[0].document.data
    if event is not None:
        found["event"] = _event(event)
    else:
        found["since"] = (datetime.now(UTC) - moment(since)).total_seconds()
    return found


def _event(path: str) -> Facts:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
        event = json.loads(text)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} holds no event: {error}") from None
    if not isinstance(event, dict):
        raise CommandError(f"{path} holds no event, which is a JSON object")
    return event
