"""Following what happens on a server."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from flowdapt_client import events as calls

from flowdapt.client import AsyncClient, Client, NoServer, Refused
from flowdapt.events import RESOURCE_CREATED, RUN_FINISHED, RUN_STARTED
from flowdapt.plugins import Plugins

from .conftest import Begin
from .serving import SECONDS, Served, workflow

CONFIG = {"kind": "config", "metadata": {"name": "farm"}, "spec": {"data": {}}}


def test_kept_events_are_listed_page_by_page(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE", 2)
    runs = [client.runs.run("echo").name for _ in range(5)]

    events = [*client.events.list(workflow="echo", types=[RUN_STARTED])]
    third = events[2].position or 0
    rest = client.events.list(after=third, workflow="echo", types=[RUN_STARTED])
    newest = client.events.list(order="newest", limit=3, workflow="echo", types=[RUN_STARTED])
    before = client.events.list(order="newest", after=third, types=[RUN_STARTED])

    assert [event.data["name"] for event in events] == runs
    assert [event.data["name"] for event in rest] == runs[3:]
    assert [event.data["name"] for event in newest] == runs[:1:-1]
    assert [event.data["name"] for event in before] == runs[1::-1]


def test_events_come_as_they_happen_and_none_is_missed_where_the_line_is_cut(
    client: Client, served: Served, begin: Begin
) -> None:
    opened = threading.Semaphore(0)
    events = client.events.follow(types=[RUN_STARTED], opened=opened.release)
    first = begin(lambda: next(events))
    assert opened.acquire(timeout=SECONDS)
    runs = [client.runs.start("echo").uid]
    told = [first.result(SECONDS)]

    served.cut()
    with Client(served.server.addresses["rest"]) as other:  # while nobody listens
        runs += [other.runs.start("echo").uid for _ in range(3)]
    told += [next(events) for _ in range(3)]

    assert [event.data["uid"] for event in told] == [str(uid) for uid in runs]
    assert opened.acquire(timeout=SECONDS)
    events.close()


def test_a_listener_that_was_told_nothing_yet_misses_nothing_where_the_line_is_cut(
    client: Client, served: Served, begin: Begin
) -> None:
    opened = threading.Event()
    events = client.events.follow(types=[RUN_STARTED], opened=opened.set)
    first = begin(lambda: next(events))
    assert opened.wait(SECONDS)

    served.cut(answered=False)
    with Client(served.server.addresses["rest"]) as other:
        run = other.runs.start("echo")
    served.cut()

    assert first.result(SECONDS).data["uid"] == str(run.uid)
    events.close()


def test_events_are_followed_from_a_position_and_by_filters(client: Client) -> None:
    client.workflows.create(workflow("watched", "echo"))
    client.runs.run("watched")
    client.runs.run("echo")

    with client.events.follow(
        after=0, workflow="watched", types=[RUN_STARTED, RUN_FINISHED]
    ) as events:
        found = [next(events).type, next(events).type]

    assert found == [RUN_STARTED, RUN_FINISHED]


def test_the_events_of_a_run_end_with_it(client: Client) -> None:
    run = client.runs.start("echo")

    found = [event.type.rpartition(".")[2] for event in client.events.of_run(run)]

    assert found[0] == "workflow_started"
    assert found[-2:] == ["stage_changed", "workflow_finished"]
    assert [e.type for e in client.events.of_run(run)][-1] == RUN_FINISHED  # it has ended


def test_resources_are_watched(client: Client, begin: Begin) -> None:
    opened = threading.Event()
    with client.configs.watch(opened=opened.set) as events:
        first = begin(lambda: next(events))
        assert opened.wait(SECONDS)

        client.runs.run("echo")
        client.configs.create(CONFIG)

        assert first.result(SECONDS).type == RESOURCE_CREATED
        assert first.result(SECONDS).data["name"] == "farm"


def test_a_stream_that_is_closed_ends_for_the_thread_that_waits(
    client: Client, begin: Begin
) -> None:
    opened = threading.Event()
    events = client.events.follow(opened=opened.set)
    rest = begin(lambda: [*events])
    assert opened.wait(SECONDS)

    events.close()

    assert rest.result(SECONDS) == []
    assert [*events] == []


def test_a_server_that_stays_away_is_an_error_in_the_end(
    client: Client, served: Served, begin: Begin
) -> None:
    opened = threading.Event()
    events = client.events.follow(opened=opened.set, away=0.2)
    rest = begin(lambda: [*events])
    assert opened.wait(SECONDS)

    served.cut(answered=False)

    assert isinstance(rest.exception(SECONDS), NoServer)
    served.cut()


def test_who_listens_is_told_that_the_line_is_lost_and_that_it_is_there_again(
    client: Client, served: Served, begin: Begin
) -> None:
    opened, lost = threading.Semaphore(0), threading.Event()
    events = client.events.follow(opened=opened.release, lost=lost.set)
    rest = begin(lambda: [*events])
    assert opened.acquire(timeout=SECONDS)
    assert not lost.is_set()

    served.cut()

    assert lost.wait(SECONDS)
    assert opened.acquire(timeout=SECONDS)
    events.close()
    assert rest.result(SECONDS) == []


def test_a_server_that_stops_while_something_is_looked_up_is_one_that_is_away(
    client: Client, begin: Begin
) -> None:
    troubles: list[Exception] = [NoServer(client.address), Refused(503, "it stops")]
    opened, lost = threading.Event(), list[str]()

    def look_up() -> None:
        if troubles:
            raise troubles.pop()
        opened.set()

    events = client.events.follow(opened=look_up, lost=lambda: lost.append("lost"))
    rest = begin(lambda: [*events])

    assert opened.wait(SECONDS)
    events.close()
    assert rest.result(SECONDS) == []
    assert lost[:2] == ["lost", "lost"]


def test_a_refusal_is_not_tried_again(plugins: Plugins, tmp_path: Path) -> None:
    with (
        Served(tmp_path, plugins, "rpc.api.require_token=true").running() as served,
        Client(served.address) as client,
        pytest.raises(Refused, match="nobody may call this without a token") as raised,
    ):
        next(client.events.follow())

    assert raised.value.status == 401


@pytest.mark.anyio
async def test_events_are_awaited(awaited: AsyncClient, served: Served) -> None:
    opened = asyncio.Event()
    async with awaited.events.follow(types=[RUN_STARTED], opened=opened.set) as events:
        first = asyncio.ensure_future(anext(events))
        await opened.wait()
        run = await awaited.runs.start("echo")
        assert (await first).data["uid"] == str(run.uid)

        await asyncio.to_thread(served.cut)
        run = await awaited.runs.start("echo")
        assert (await anext(events)).data["uid"] == str(run.uid)

        rest = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0)
        await events.aclose()
        assert await rest is None


@pytest.mark.anyio
async def test_a_stream_is_closed_at_once_where_the_server_says_nothing() -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with asyncio.timeout(SECONDS), AsyncClient(f"{host}:{port}") as client:
        events = client.events.follow()
        rest = asyncio.ensure_future(anext(events, None))
        await asked.wait()

        await events.aclose()

        assert await rest is None
        assert not over.is_set()
    over.set()
    server.close()


@pytest.mark.anyio
async def test_a_stream_is_closed_at_once_where_the_server_is_away(
    awaited: AsyncClient, served: Served
) -> None:
    opened, lost = asyncio.Event(), asyncio.Event()
    events = awaited.events.follow(opened=opened.set, lost=lost.set, away=None)
    rest = asyncio.ensure_future(anext(events, None))
    await opened.wait()
    await asyncio.to_thread(lambda: served.cut(answered=False))
    await lost.wait()

    await events.aclose()

    assert await rest is None
    await asyncio.to_thread(served.cut)


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_lets_the_stream_go(awaited: AsyncClient) -> None:
    opened = asyncio.Event()
    events = awaited.events.follow(opened=opened.set)
    waiting = asyncio.ensure_future(anext(events))
    await opened.wait()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await anext(events, None) is None
