"""What every storage does with events."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowdapt.errors import ResourceChanged, ResourceExists, ResourceNotFound, UnlawfulTransition
from flowdapt.events import (
    AUDIT,
    RESOURCE_CREATED,
    RESOURCES,
    RUN_FINISHED,
    RUN_STARTED,
    STAGE_CHANGED,
    WORKFLOWS,
    Event,
)
from flowdapt.resources import now
from flowdapt.runs import FailedItem, Failure, Run, RunState, StageRecord
from flowdapt.storage import INLINE_BYTES, EventQuery, Storage, StoredRun
from flowdapt_testing.documents import a_document, changed
from flowdapt_testing.runs import ODD_TEXT, RunSuite


def an_event(what: str = "heard", *, ago: float = 0, **facts: Any) -> Event:
    """Return an event of a channel that only the test knows, or of another."""
    facts = {"channel": "gossip", "data": {}, **facts}
    return Event(type=what, time=now() - timedelta(seconds=ago), **facts)


def of_run(run: Run, what: str = RUN_STARTED, data: Any = None) -> Event:
    """Return an event of a run."""
    return Event(type=what, data=data, run=run.uid, workflow=run.workflow)


async def read(storage: Storage, **query: Any) -> list[tuple[int, dict[str, Any]]]:
    """Return all events that a query finds, with their positions, page by page."""
    found: list[tuple[int, dict[str, Any]]] = []
    wanted = EventQuery(**query)
    while True:
        page = await storage.read_events(wanted)
        assert len(page.entries) <= wanted.limit
        found += [(position, json.loads(text)) for position, text in page.entries.items()]
        if page.next == wanted.after:
            return found
        assert not wanted.after or (page.next < wanted.after) is wanted.newest_first
        wanted = replace(wanted, after=page.next)


async def types(storage: Storage, **query: Any) -> list[str]:
    """Return the types of all events that a query finds."""
    return [event["type"] for _, event in await read(storage, **query)]


class EventSuite(RunSuite):
    """The part of :class:`flowdapt_testing.resources.StorageSuite` that is about events."""

    # Kept with what they tell of

    async def test_an_event_is_kept_as_it_is(self, storage: Storage) -> None:
        event = an_event(
            data={"text": ODD_TEXT, "list": [1, None]},
            source="test",
            headers={"actor": "me"},
            subject="config/1",
            correlation_id="c",
            reply_channel="r",
            trace_parent="t",
        )

        await storage.append_event(event)

        page = await storage.read_events(EventQuery())
        assert page.entries == {1: event.text()}
        told = json.loads(page.entries[1])
        assert (told["id"], told["subject"]) == (str(event.id), "config/1")
        assert (told["data"], told["headers"]) == (event.data, {"actor": "me"})

    async def test_events_are_kept_with_the_change_that_they_tell_of(
        self, storage: Storage
    ) -> None:
        document, run = a_document(), Run(workflow="w").to(RunState.RUNNING)
        uid, end = UUID(document["metadata"]["uid"]), run.to(RunState.FINISHED)
        record, last = StageRecord(stage="a"), StageRecord(stage="b")

        await storage.create(document, events=[an_event("created"), an_event("twice")])
        await storage.replace(changed(document), expected=1, events=[an_event("changed")])
        await storage.delete("workflow", uid, events=[an_event("deleted")])
        await storage.add_run(run, events=[an_event("accepted")])
        await storage.save_stage(run.uid, record, events=[an_event("a")])
        ends = [an_event("b"), an_event("ended")]
        await storage.save_run(end, was=RunState.RUNNING, last=last, events=ends)

        expected = ["created", "twice", "changed", "deleted", "accepted", "a", "b", "ended"]
        found = await read(storage)
        assert [event["type"] for _, event in found] == expected
        assert [position for position, _ in found] == list(range(1, 9))
        assert await storage.last_event() == 8

    async def test_events_of_a_change_that_is_refused_are_not_kept(self, storage: Storage) -> None:
        first, second, absent = a_document(), a_document("second"), Run(workflow="w")
        run = Run(workflow="w").to(RunState.RUNNING)
        for document in (first, second):
            await storage.create(document)
        await storage.add_run(run)
        lies: dict[str, Any] = {"events": [an_event("lie"), of_run(run)]}
        end = run.to(RunState.FINISHED)

        refused = [
            (ResourceExists, storage.create(a_document(), **lies)),
            (ResourceChanged, storage.replace(changed(first), expected=7, **lies)),
            (ResourceExists, storage.replace(changed(second, name="first"), expected=1, **lies)),
            (ResourceNotFound, storage.replace(a_document("third"), expected=1, **lies)),
            (ResourceNotFound, storage.delete("workflow", uuid4(), **lies)),
            (ResourceExists, storage.add_run(run, **lies)),
            (UnlawfulTransition, storage.save_run(end, was=RunState.PENDING, **lies)),
            (ResourceNotFound, storage.save_run(absent, was=RunState.PENDING, **lies)),
            (ResourceNotFound, storage.save_stage(uuid4(), StageRecord(stage="s"), **lies)),
        ]
        for error, change in refused:
            with pytest.raises(error):
                await change

        assert await types(storage) == []
        assert await storage.last_event() == 0

    async def test_of_changes_at_once_only_those_that_are_made_are_told(
        self, storage: Storage
    ) -> None:
        document = a_document()
        await storage.create(document)
        tries = [
            storage.replace(changed(document, by=i), expected=1, events=[an_event(f"{i}")])
            for i in range(20)
        ]

        outcomes = await asyncio.gather(*tries, return_exceptions=True)

        winners = [str(i) for i, outcome in enumerate(outcomes) if outcome is None]
        assert await types(storage) == winners
        assert len(winners) == 1

    async def test_what_is_told_of_a_run_leaves_out_what_may_be_large_or_private(
        self, storage: Storage
    ) -> None:
        run = Run(workflow="w", input={"a": 1}, config={"b": 2}).to(RunState.RUNNING)
        end, large = run.to(RunState.FINISHED), b"[" + b" " * INLINE_BYTES + b"]"
        small = StoredRun(end, b'{"c":3}', 7)
        big = StoredRun(end, large, len(large))

        await storage.add_run(run, events=[of_run(run, data=StoredRun(run))])
        for told in (small, big):
            await storage.append_event(of_run(run, RUN_FINISHED, told))

        started, finished, unsaid = [event["data"] for _, event in await read(storage)]
        for data in (started, finished, unsaid):
            assert {"input", "config"} & set(data) == set()
            assert (data["uid"], data["workflow"]) == (str(run.uid), "w")
        assert (started["state"], started["finished_at"]) == ("running", None)
        assert (finished["result"], finished["result_bytes"]) == ({"c": 3}, 7)
        assert "result" not in {**started, **unsaid}
        assert unsaid["result_bytes"] == len(large)

    async def test_what_is_told_of_a_stage_leaves_out_its_result_and_what_failed_in_it(
        self, storage: Storage
    ) -> None:
        failure = Failure(type="E", message="m", item=1)
        record = StageRecord(
            stage="s", failures=(failure,), failed_items=(FailedItem(1, "E", "m"),)
        )
        record = record.model_copy(update={"result": b"\x80", "failure": failure})

        await storage.append_event(an_event(data=record.facts()))

        ((_, event),) = await read(storage)
        assert {"result", "failures", "failed_items"} & set(event["data"]) == set()
        assert event["data"]["failure"]["message"] == "m"

    # What is read

    async def test_events_are_found_by_channel_run_workflow_and_subject(
        self, storage: Storage
    ) -> None:
        runs = [Run(workflow=name) for name in ("w", "w", "other")]
        for i, run in enumerate(runs):
            await storage.add_run(run, events=[of_run(run, f"run {i}")])
        for i in range(2):
            facts: dict[str, Any] = {"channel": RESOURCES, "subject": f"config/{i}"}
            await storage.append_event(an_event(f"config {i}", **facts))
        await storage.append_event(an_event("asked", channel=AUDIT))
        await storage.append_event(an_event("heard"))
        record = StageRecord(stage="s")
        await storage.save_stage(runs[0].uid, record, events=[of_run(runs[0], STAGE_CHANGED)])

        assert await types(storage, run=runs[0].uid) == ["run 0", STAGE_CHANGED]
        assert await types(storage, run=uuid4()) == []
        assert await types(storage, workflow="w") == ["run 0", "run 1", STAGE_CHANGED]
        assert await types(storage, workflow="w", run=runs[1].uid) == ["run 1"]
        assert await types(storage, workflow="other", run=runs[1].uid) == []
        assert await types(storage, subject="config/1") == ["config 1"]
        assert await types(storage, channels=(RESOURCES,)) == ["config 0", "config 1"]
        assert await types(storage, channels={AUDIT, "gossip"}) == ["asked", "heard"]
        assert await types(storage, channels=(RESOURCES,), subject="config/0") == ["config 0"]
        assert await types(storage, channels=(AUDIT,), subject="config/0") == []
        assert await types(storage, channels=("absent",)) == []
        assert await types(storage, channels=(WORKFLOWS, AUDIT), after=2) == [
            *("run 2", "asked", STAGE_CHANGED)
        ]

    @pytest.mark.parametrize("limit", [1, 7, 100, 1000])
    async def test_events_are_read_page_by_page_until_the_position_stays(
        self, storage: Storage, limit: int
    ) -> None:
        run = Run(workflow="w")
        await storage.add_run(run)
        told = [
            of_run(run, f"{i}") if i % 3 else an_event(f"{i}", subject="config/1")
            for i in range(100)
        ]
        await asyncio.gather(*(storage.append_event(event) for event in told))
        third = [f"{i}" for i in range(0, 100, 3)]

        assert await types(storage, limit=limit) == [f"{i}" for i in range(100)]
        assert await types(storage, limit=limit, channels=("gossip",)) == third
        assert await types(storage, limit=limit, subject="config/1") == third
        assert len(await types(storage, limit=limit, run=run.uid)) == 66
        assert len(await types(storage, limit=limit, workflow="w", after=50)) == 33

    @pytest.mark.parametrize("limit", [1, 7, 1000])
    async def test_the_newest_come_first_where_that_is_asked_for(
        self, storage: Storage, limit: int
    ) -> None:
        run = Run(workflow="w")
        await storage.add_run(run)
        for i in range(20):
            await storage.append_event(
                of_run(run, f"{i}") if i % 3 else an_event(f"{i}", subject="config/1")
            )
        wanted: dict[str, Any] = {"limit": limit, "newest_first": True}
        third = [f"{i}" for i in range(18, -1, -3)]

        found = await read(storage, **wanted)

        assert [position for position, _ in found] == [*range(20, 0, -1)]
        assert [event["type"] for _, event in found] == [f"{i}" for i in range(19, -1, -1)]
        assert await types(storage, **wanted, channels=("gossip",)) == third
        assert await types(storage, **wanted, subject="config/1") == third
        assert len(await types(storage, **wanted, run=run.uid)) == 13
        assert await types(storage, **wanted, workflow="w", after=5) == ["2", "1"]
        assert await types(storage, **wanted, after=1) == []
        assert await types(storage, **wanted, run=uuid4()) == []

    async def test_the_newest_first_end_where_the_oldest_that_is_kept_was(
        self, storage: Storage
    ) -> None:
        empty = await storage.read_events(EventQuery(newest_first=True))
        for ago in (600, 600, 0, 0):
            await storage.append_event(an_event(f"{ago}", ago=ago))
        await storage.trim_events("gossip", 300, limit=10)

        beyond = await storage.read_events(EventQuery(newest_first=True, after=9))

        assert (empty.entries, empty.next) == ({}, 0)
        assert list(beyond.entries) == [4, 3]
        assert await types(storage, newest_first=True, limit=2) == ["0", "0"]

    async def test_behind_the_last_event_there_is_nothing_and_the_position_stays(
        self, storage: Storage
    ) -> None:
        empty = await storage.read_events(EventQuery())
        await storage.append_event(an_event())

        page = await storage.read_events(EventQuery())
        beyond = await storage.read_events(EventQuery(after=9))

        assert (empty.entries, empty.next) == ({}, 0)
        assert (list(page.entries), page.next) == ([1], 1)
        assert (beyond.entries, beyond.next) == ({}, 9)

    async def test_rare_events_among_very_many_are_found(self, storage: Storage) -> None:
        run = Run(workflow="rare")
        await storage.add_run(run)
        often = [of_run(Run(workflow="often")) for _ in range(6_000)]
        await asyncio.gather(*(storage.append_event(event) for event in often))
        await storage.append_event(of_run(run, "at last"))

        assert await types(storage, workflow="rare") == ["at last"]
        assert await types(storage, workflow="rare", newest_first=True) == ["at last"]
        assert await types(storage, run=run.uid) == ["at last"]

    async def test_events_of_a_run_that_was_deleted_are_still_there(self, storage: Storage) -> None:
        runs = [Run(workflow="w"), Run(workflow="w")]
        for run in runs:
            await storage.add_run(run, events=[of_run(run)])
            await storage.append_event(of_run(run, RUN_FINISHED))

        for run in runs:
            await storage.delete_run(run.uid)
        await storage.add_run(later := Run(workflow="w"), events=[of_run(later, "later")])

        told = [RUN_STARTED, RUN_FINISHED]
        assert await types(storage, workflow="w") == [*told, *told, "later"]
        assert [await types(storage, run=run.uid) for run in runs] == [told, told]
        assert await types(storage, run=later.uid) == ["later"]

    async def test_the_last_position_is_known_without_reading(self, storage: Storage) -> None:
        before = await storage.last_event()
        await storage.create(a_document(), events=[an_event(RESOURCE_CREATED), an_event()])

        assert (before, await storage.last_event()) == (0, 2)

    # What is forgotten

    async def test_old_events_of_a_channel_are_forgotten_the_oldest_first(
        self, storage: Storage
    ) -> None:
        for i in range(6):
            await storage.append_event(an_event(f"g{i}", ago=600 - i))
            await storage.append_event(an_event(f"w{i}", ago=600 - i, channel=WORKFLOWS))
        await storage.append_event(an_event("new"))
        await storage.append_event(an_event("new too", channel=WORKFLOWS))
        wanted: dict[str, Any] = {"channels": ("gossip",)}

        assert await storage.trim_events("gossip", 300, limit=4) == 4
        assert await types(storage, **wanted) == ["g4", "g5", "new"]
        assert await storage.trim_events("gossip", 300, limit=4) == 2
        assert await storage.trim_events("gossip", 300, limit=4) == 0

        assert await types(storage, **wanted) == ["new"]
        wanted["channels"] = (WORKFLOWS,)
        assert len(await types(storage, **wanted)) == 7
        assert await storage.trim_events(WORKFLOWS, 300, limit=100) == 6
        assert await storage.trim_events("absent", 300, limit=100) == 0
        assert await types(storage) == ["new", "new too"]

    async def test_it_is_known_up_to_where_events_of_a_channel_were_forgotten(
        self, storage: Storage
    ) -> None:
        before = await storage.forgotten_events()
        for ago in (600, 500, 400, 0):
            await storage.append_event(an_event(ago=ago))
            await storage.append_event(an_event(ago=ago, channel=WORKFLOWS))
        await storage.append_event(an_event(channel=AUDIT))

        await storage.trim_events("gossip", 300, limit=2)
        after = await storage.forgotten_events()
        for channel, limit in (("gossip", 2), (WORKFLOWS, 1), (AUDIT, 1)):
            await storage.trim_events(channel, 300, limit=limit)

        assert (before, after) == ({}, {"gossip": 3})
        assert await storage.forgotten_events() == {"gossip": 5, WORKFLOWS: 2}

    async def test_the_channels_of_events_are_known(self, storage: Storage) -> None:
        before = set(await storage.event_channels())
        for channel in (RESOURCES, "gossip", AUDIT, WORKFLOWS, "gossip", "z"):
            await storage.append_event(an_event(channel=channel))

        channels = await storage.event_channels()

        assert before <= {WORKFLOWS}
        assert sorted(channels) == [*(AUDIT, "gossip", RESOURCES, WORKFLOWS, "z")]

    async def test_events_are_forgotten_again_once_they_are_old(self, storage: Storage) -> None:
        for ago in (600, 400, 200, 0):
            await storage.append_event(an_event(f"{ago}", ago=ago, channel=WORKFLOWS))

        counts = [
            await storage.trim_events(WORKFLOWS, seconds, limit=10) for seconds in (500, 500, 100)
        ]

        assert counts == [1, 0, 2]
        assert await types(storage) == ["0"]

    async def test_positions_go_on_after_events_were_forgotten(self, storage: Storage) -> None:
        for _ in range(3):
            await storage.append_event(an_event(ago=600))

        await storage.trim_events("gossip", 300, limit=100)  # perhaps all but the very last

        assert await storage.last_event() == 3
        await storage.append_event(an_event("new"))
        assert await read(storage, after=3) == [(4, (await read(storage))[-1][1])]
