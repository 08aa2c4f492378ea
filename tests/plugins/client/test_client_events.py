"""Following what happens on a server."""

from __future__ import annotations

import asyncio
import threading

import pytest
from flowdapt_client import hearing

from flowdapt.client import AsyncClient, Client, NoServer, Refused
from flowdapt.events import RUN_FINISHED, RUN_STARTED

from .standin import StandIn, standing_in
from .test_client_runs import in_background


def test_kept_events_are_listed_page_by_page(client: Client, server: StandIn) -> None:
    for number in range(5):
        server.tell("x", number)

    assert [e.data for e in client.events.list(types=["x"])] == [0, 1, 2, 3, 4]
    assert [e.data for e in client.events.list(after=3)] == [2, 3, 4]


def test_events_come_as_they_happen_and_again_after_a_lost_connection(
    client: Client, server: StandIn
) -> None:
    server.tell("before", 0)
    opened: list[int] = []
    with client.events.follow(opened=lambda: opened.append(1)) as events:
        first = in_background(lambda: next(events).data)
        server.wait_for_streams(1)
        server.tell("x", 1)
        assert first() == 1

        server.cut()
        server.tell("x", 2)  # while nobody listens

        assert next(events).data == 2
    assert server.seen[-1].headers["last-event-id"] == "3"
    assert opened == [1, 1]


def test_events_are_followed_from_a_position_and_by_filters(
    client: Client, server: StandIn
) -> None:
    run = server.begin("fruit")
    server.begin("other")
    server.end(run)

    with client.events.follow(
        after=0, workflow="fruit", types=[RUN_STARTED, RUN_FINISHED]
    ) as events:
        found = [next(events).type, next(events).type]

    assert found == [RUN_STARTED, RUN_FINISHED]


def test_the_events_of_a_run_end_with_it(client: Client, server: StandIn) -> None:
    run = server.begin()
    server.stage(run, "pick")
    server.end(run)

    found = [event.type.rpartition(".")[2] for event in client.events.of_run(run["uid"])]

    assert found == ["workflow_started", "stage_changed", "workflow_finished"]


def test_resources_are_watched(client: Client, server: StandIn) -> None:
    with client.configs.watch() as events:
        first = in_background(lambda: next(events).type)
        server.wait_for_streams(1)

        server.put({"kind": "config", "metadata": {"name": "c"}, "spec": {"data": {}}})

        assert first() == "com.event.resource.created"


def test_a_stream_ends_when_the_server_says_that_there_is_no_more(
    client: Client, server: StandIn
) -> None:
    server.over = True

    assert [*client.events.follow()] == []


def test_a_stream_that_is_closed_ends_for_the_thread_that_waits(
    client: Client, server: StandIn
) -> None:
    events = client.events.follow()
    rest = in_background(lambda: [*events])
    server.wait_for_streams(1)

    events.close()

    assert rest() == []
    assert [*events] == []


def test_a_server_that_stays_away_is_an_error_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hearing, "FIRST_SECONDS", 0.001)
    with standing_in() as server, Client(server.address) as client:
        events = client.events.follow(away=0.01)
        rest = in_background(lambda: [*events])
        server.wait_for_streams(1)
    # The server is gone, and so are its streams.

    assert isinstance(rest(), NoServer)


def test_a_refusal_is_not_tried_again(client: Client, server: StandIn) -> None:
    server.token = "secret"

    with pytest.raises(Refused, match="no valid token") as raised:
        next(client.events.follow())

    assert raised.value.status == 401
    assert len(server.seen) == 1


@pytest.mark.anyio
async def test_events_are_awaited(awaited: AsyncClient, server: StandIn) -> None:
    opened = asyncio.Event()
    async with awaited.events.follow(opened=opened.set) as events:
        first = asyncio.ensure_future(anext(events))
        await opened.wait()
        server.tell("x", 1)
        assert (await first).data == 1

        server.cut()
        server.tell("x", 2)
        assert (await anext(events)).data == 2

        rest = asyncio.ensure_future(anext(events, None))
        await asyncio.to_thread(server.wait_for_streams, 2)
        await events.aclose()
        assert await rest is None


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_lets_the_stream_go(
    awaited: AsyncClient, server: StandIn
) -> None:
    opened = asyncio.Event()
    events = awaited.events.follow(opened=opened.set)
    waiting = asyncio.ensure_future(anext(events))
    await opened.wait()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await anext(events, None) is None


def test_several_threads_use_one_client(client: Client, server: StandIn) -> None:
    runs = [server.begin() for _ in range(4)]
    waits = [in_background(lambda run=run: client.runs.wait(run["uid"]).name) for run in runs]
    server.wait_for_streams(4)

    for run in runs:
        server.end(run)

    assert [wait() for wait in waits] == [run["name"] for run in runs]
    assert threading.active_count() >= 1
