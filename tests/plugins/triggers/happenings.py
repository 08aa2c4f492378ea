"""Events as conditions see them, and what conditions are refused for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowdapt_triggers.conditions import Condition

from flowdapt.errors import InvalidResource
from flowdapt.events import RUN_FINISHED

NOON = datetime(2031, 4, 5, 12, tzinfo=UTC)
TYPE, WORKFLOW = {"var": "type"}, {"var": "data.workflow"}


def happened(what: str = RUN_FINISHED, *, after: float = 0, **data: Any) -> dict[str, Any]:
    """Return an event as it is on the wire, some seconds after noon."""
    time = (NOON + timedelta(seconds=after)).replace(tzinfo=None)
    return {
        "id": "7b0c0f4e-5d0d-4a8e-9f0e-0d7f1c1b2a3d",
        "time": time.isoformat(timespec="microseconds"),
        "type": what,
        "channel": "workflows",
        "source": "compute",
        "subject": "",
        "headers": {},
        "correlation_id": None,
        "reply_channel": None,
        "trace_parent": None,
        "data": data,
    }


def faults(rule: Any, options: Mapping[str, Any] | None = None) -> dict[tuple[str | int, ...], str]:
    """Return why a rule is refused, by path."""
    with pytest.raises(InvalidResource) as caught:
        Condition(rule, options or {})
    found = {error["loc"]: error["msg"] for error in caught.value.errors}
    assert len(found) == len(caught.value.errors)
    return found
