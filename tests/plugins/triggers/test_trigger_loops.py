"""Triggers that hear of triggers: none of it is without end."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flowdapt_triggers.chains import Chains
from flowdapt_triggers.clock import WallClock

from flowdapt.triggers import Occasion

from .conftest import Yard
from .doings import GREW, PRINT, runs, tell

pytestmark = pytest.mark.anyio


def of_type(what: str) -> dict[str, Any]:
    return {"eq": [{"var": "type"}, f"com.event.trigger.{what}"]}


async def told(yard: Yard, what: str = "") -> list[str]:
    """Return which triggers did something, in order."""
    return [one["trigger"] for one in await yard.told(what)]


async def test_a_rule_for_everything_hears_nothing_of_triggers(yard: Yard) -> None:
    await yard.apply("all", rule={"ne": [{"var": "type"}, "x"]}, action=PRINT)
    await yard.apply("other", type="once", rule="2021-04-05T00:00:10", action=PRINT)
    before = await told(yard, "fired")

    await yard.clock.advance(11)
    for _ in range(3):
        await yard.service.notes.write()

    assert (await told(yard, "fired"))[len(before) :] == ["other"]


@pytest.mark.parametrize("action", [PRINT, runs("farm")])
async def test_a_rule_for_firings_hears_those_of_others_alone(yard: Yard, action: Any) -> None:
    for name in ("one", "two"):
        await yard.apply(name, rule=of_type("fired"), action=action)
    await yard.apply("other", rule=GREW, action=PRINT)

    await tell(yard)

    assert sorted(await told(yard)) == ["one", "one", "other", "two", "two"]


async def test_an_alert_that_fails_sets_off_no_other(yard: Yard) -> None:
    await yard.apply("alert", rule=of_type("failed"), action=runs("absent"))
    await yard.apply("other", rule=GREW, action=runs("gone"))

    await tell(yard)

    assert await told(yard) == ["other", "alert"]


async def test_what_was_missed_can_be_heard(yard: Yard) -> None:
    await yard.apply("alert", rule=of_type("missed"), action=PRINT)
    await yard.apply("other", rule=GREW, action=PRINT, debounce="1m")
    await tell(yard)

    await yard.apply("other", rule=GREW, action=PRINT, paused=True)

    assert await told(yard) == ["other", "alert"]


async def test_that_a_chain_was_stopped_can_be_heard_and_is_told_once(yard: Yard) -> None:
    finished = {
        "and": [
            {"eq": [{"var": "type"}, "com.event.workflow.workflow_finished"]},
            {"eq": [{"var": "data.workflow"}, "farm"]},
        ]
    }
    await yard.apply("loop", rule=finished)
    for name in ("one", "two"):
        await yard.apply(name, rule=of_type("failed"), action=PRINT)

    await yard.engine.submit("farm")
    for _ in range(3):
        await yard.engine.drained()
        await told(yard)

    assert (await told(yard)).count("loop") == 17
    assert (await told(yard))[16:] == ["loop", "one", "two"]


@pytest.mark.parametrize("subject", ["workflow_run/vivid-seal", "workflow_run/", "x", ""])
async def test_an_event_may_be_about_anything(subject: str) -> None:
    chains = Chains(WallClock(), 16)
    chains.begun(run := uuid4(), ["t"])

    assert list(chains.behind(Occasion("k", event={"subject": subject}))) == []
    assert list(chains.behind(Occasion("k", event={"subject": f"workflow_run/{run}"}))) == ["t"]
