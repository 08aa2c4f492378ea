"""The log of events, live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from flowdapt_rest import hub, sse
from flowdapt_rest.roles import Role
from flowdapt_rest.service import RestService
from flowdapt_rest.tokens import Tokens

from flowdapt.events import AUDIT, Event
from tests.plugins.rest.listening import listening

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

STARTED = "com.event.workflow.workflow_started"
STAGE = "com.event.workflow.stage_changed"
FINISHED = "com.event.workflow.workflow_finished"
CREATED = "com.event.resource.created"


def config(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"data": {}}}


async def test_a_position_that_is_none_is_refused(workflows: httpx.AsyncClient) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "x"}

    response = await workflows.get("/events", headers=headers)

    assert response.status_code == 400
    assert "Last-Event-ID" in response.json()["detail"]


async def test_what_happens_is_told_as_it_happens(live: httpx.AsyncClient) -> None:
    async with listening(live, "/events") as listener:
        run = (await live.post("/workflows/echo/run?wait=false")).json()
        messages = await listener.until("workflow_finished")

    kept = [message for message in messages if message.id]
    assert [message.event for message in kept] == [STARTED, STAGE, FINISHED]
    assert [message.id for message in kept] == [str(m.data["position"]) for m in kept]
    assert kept[-1].data["data"]["uid"] == run["uid"]


async def test_a_stream_begins_with_what_happens_from_now_on(live: httpx.AsyncClient) -> None:
    await live.post("/workflows/echo/run")

    async with listening(live, "/events") as listener:
        await live.post("/configs/", json=config("later"))
        assert (await listener.next()).data["data"]["name"] == "later"


async def test_who_comes_back_misses_nothing_and_hears_nothing_twice(
    live: httpx.AsyncClient,
) -> None:
    async with listening(live, "/events?channel=resources") as listener:
        await live.post("/configs/", json=config("a"))
        last = (await listener.next()).id
    for name in ("b", "c"):
        await live.post("/configs/", json=config(name))

    async with listening(live, "/events?channel=resources", after=last) as listener:
        await live.post("/configs/", json=config("d"))
        told = [(await listener.next()).data["data"]["name"] for _ in "bcd"]

    assert told == ["b", "c", "d"]


async def test_the_header_goes_before_the_query(live: httpx.AsyncClient) -> None:
    last = (await live.get("/events")).json()["next"]
    await live.post("/configs/", json=config("a"))

    async with listening(live, "/events?after=0", after=str(last)) as listener:
        assert (await listener.next()).data["data"]["name"] == "a"


async def test_how_a_stage_stands_has_no_id(live: httpx.AsyncClient, stages: Any) -> None:
    async with listening(live, "/events?workflow=waiting") as listener:
        await live.post("/workflows/waiting/run?wait=false")
        started, moved = await listener.next(), await listener.next()
        stages.gate.set()
        rest = await listener.until("workflow_finished")

    assert (started.event, moved.event, moved.id) == (STARTED, STAGE, None)
    assert moved.data["data"]["state"] == "running"
    assert [message.data["data"]["state"] for message in rest if message.id] == ["finished"] * 2


async def test_who_comes_later_is_told_how_stages_stand(
    live: httpx.AsyncClient, stages: Any
) -> None:
    async with listening(live, "/events") as first:  # so that somebody keeps account of it
        run = (await live.post("/workflows/waiting/run?wait=false")).json()
        await first.until("stage_changed")

        async with listening(live, f"/events?run={run['uid']}") as late:
            assert (await late.next()).data["data"]["state"] == "running"
    stages.gate.set()


async def test_a_burst_of_progress_does_not_fill_the_stream(
    live: httpx.AsyncClient, server: Server, stages: Any
) -> None:
    async with listening(live, "/events") as listener:
        run = (await live.post("/workflows/waiting/run?wait=false")).json()
        await listener.until("stage_changed")
        (walk,) = server.engine._walks.values()
        record = walk.records["only"]
        for done in range(1, 1001):
            walk._record(record.model_copy(update={"items": 1000, "items_done": done}))
        stages.gate.set()
        messages = await listener.until("workflow_finished")

    assert messages[-1].data["data"]["uid"] == run["uid"]
    assert len(messages) < 100


async def test_the_stream_of_a_run_begins_with_it_and_ends_with_it(
    live: httpx.AsyncClient, stages: Any
) -> None:
    run = (await live.post("/workflows/waiting/run?wait=false")).json()
    await stages.reached.wait()

    async with listening(live, f"/workflows/run/{run['name']}/events") as listener:
        stages.gate.set()
        messages = await listener.all()

    assert [message.event for message in messages if message.id] == [STARTED, STAGE, FINISHED]


async def test_the_stream_of_a_run_ends_with_it_whatever_types_are_wanted(
    live: httpx.AsyncClient, stages: Any
) -> None:
    run = (await live.post("/workflows/waiting/run?wait=false")).json()

    path = f"/workflows/run/{run['name']}/events?type={STARTED}"
    async with listening(live, path) as listener:
        stages.gate.set()
        messages = await listener.all()

    assert [message.event for message in messages] == [STARTED, FINISHED]


async def test_the_stream_of_a_run_that_has_ended_ends_at_once(live: httpx.AsyncClient) -> None:
    run = (await live.post("/workflows/echo/run")).json()
    path = f"/workflows/run/{run['uid']}/events"

    async with listening(live, path) as listener:
        messages = await listener.all()
    async with listening(live, path, after=messages[-1].id) as listener:
        assert await listener.all() == []

    assert [message.event for message in messages] == [STARTED, STAGE, FINISHED]
    page = (await live.get(path)).json()["events"]
    assert page == [message.data for message in messages]


async def test_who_is_far_behind_is_told_from_the_storage(
    live: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "TAIL_BYTES", 2000)
    monkeypatch.setattr(hub, "PAGE", 3)
    async with listening(live, "/events") as first:  # its hub forgets what is older
        for number in range(20):
            await live.post("/configs/", json=config(f"c{number}"))

        async with listening(live, "/events?channel=resources&after=0") as late:
            names = [(await late.next()).data["data"]["name"] for _ in range(24)]

        assert names[4:] == [f"c{number}" for number in range(20)]
        heard = [(await first.next()).data["data"]["name"] for _ in range(20)]
        assert heard == names[4:]


async def test_what_others_write_to_the_storage_is_told_too(
    live: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 0.01)
    async with listening(live, "/events?channel=news") as listener:
        await server.storage.append_event(Event(type="a.b", channel="news", data={"n": 1}))

        assert (await listener.next()).data["data"] == {"n": 1}


async def test_a_storage_that_fails_for_a_while_loses_nothing(
    live: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 0.01)
    failed, read = asyncio.Event(), server.storage.read_events

    async def failing(query: Any) -> Any:
        failed.set()
        raise OSError("away")

    async with listening(live, "/events?channel=resources") as listener:
        monkeypatch.setattr(server.storage, "read_events", failing)
        await live.post("/configs/", json=config("a"))
        await failed.wait()
        monkeypatch.setattr(server.storage, "read_events", read)

        assert (await listener.next()).data["data"]["name"] == "a"


@pytest.mark.parametrize(
    "odd",
    [
        Event(type="a.b", data={"stage": {"x": 1}, "workflow": 3}, run=uuid4()),
        Event(type="a.b", data=None, subject="workflow_run/nobody"),
        Event(type="a\nb", data=[1], subject="/"),
    ],
    ids=["facts", "subject", "type"],
)
async def test_an_odd_event_of_a_plugin_holds_up_no_other(
    live: httpx.AsyncClient, server: Server, odd: Event
) -> None:
    async with listening(live, "/events") as listener:
        run = (await live.post("/workflows/echo/run")).json()
        await listener.until("workflow_finished")
        await server.storage.append_event(odd)
        await live.post("/configs/", json=config("a"))
        told = await listener.until("created")

    assert [message.data["type"] for message in told] == [odd.type, CREATED]
    events = (await live.get(f"/events?run={run['uid']}")).json()["events"]
    assert [event["type"] for event in events] == [STARTED, STAGE, FINISHED]


async def test_a_large_resource_is_told_by_its_size_and_is_whole_in_its_history(
    live: httpx.AsyncClient,
) -> None:
    large = {"metadata": {"name": "a"}, "spec": {"data": {"x": "x" * 100_000}}}
    async with listening(live, "/events?channel=resources") as listener:
        await live.post("/configs/", json=large)
        told = (await listener.next()).data["data"]

    assert told["resource_bytes"] > 100_000
    assert "resource" not in told
    (listed,) = (await live.get("/events?channel=resources&after=4")).json()["events"]
    assert listed["data"] == told
    (revision,) = (await live.get("/configs/a/history")).json()
    assert revision["resource"]["spec"]["data"] == {"x": "x" * 100_000}


async def test_who_listens_as_the_last_other_one_leaves_is_told_all_the_same(
    live: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go, last = asyncio.Event(), asyncio.Event(), server.storage.last_event

    async def slow() -> int:
        asked.set()
        await go.wait()
        return await last()

    async def listen() -> str:
        async with listening(live, "/events?channel=resources") as second:
            await live.post("/configs/", json=config("a"))
            name: str = (await second.next()).data["data"]["name"]
            return name

    async with listening(live, "/events"):
        monkeypatch.setattr(server.storage, "last_event", slow)
        late = asyncio.create_task(listen())
        await asked.wait()
    go.set()

    assert await late == "a"


async def test_silence_is_broken_by_comments(
    live: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "ALIVE_SECONDS", 0.01)
    async with listening(live, "/events") as listener:
        async for line in listener.lines:
            if line.startswith(":"):
                break


async def test_a_server_that_stops_ends_its_streams(server: Server) -> None:
    service = RestService(server)
    await service.start()
    async with (
        httpx.AsyncClient(base_url=server.addresses["rest"]) as client,
        listening(client, "/events") as listener,
    ):
        stopping = asyncio.create_task(service.stop())
        assert await listener.all() == []
        await stopping


async def test_nothing_is_read_once_nobody_listens(live: httpx.AsyncClient, server: Server) -> None:
    async with listening(live, "/events"):
        assert server.engine.events.heard(STAGE)

    async with asyncio.timeout(30):
        while server.engine.events.heard(STAGE):
            await live.get("/")


async def test_the_audit_trail_is_for_administrators_who_ask_for_it(
    live: httpx.AsyncClient, server: Server
) -> None:
    _, text = await Tokens(server.storage).create("looker", Role.READ)
    reader = {"Authorization": f"Bearer {text}"}
    async with listening(live, "/events") as listener:
        await server.storage.append_event(Event(type="a.b", channel=AUDIT, data={}))
        await live.post("/configs/", json=config("a"))
        assert (await listener.next()).event == CREATED

    events = (await live.get("/events")).json()["events"]
    assert AUDIT not in {event["channel"] for event in events}
    assert len((await live.get("/events?channel=audit")).json()["events"]) == 1
    assert (await live.get("/events?channel=audit", headers=reader)).status_code == 403
    assert (await live.get("/events?channel=resources", headers=reader)).status_code == 200
