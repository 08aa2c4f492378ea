"""Runs whose items are told while they are yielded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from flowdapt_rest import feeds
from flowdapt_rest.service import RestService
from flowdapt_rest.tokens import Tokens

from flowdapt.events import ITEM_YIELDED
from flowdapt.runs import RunState
from flowdapt.server import Server
from tests.plugins.rest.callers import bearer
from tests.plugins.rest.conftest import Stages
from tests.plugins.rest.listening import STREAM, Listener, Message

pytestmark = pytest.mark.anyio

LINES = {"Accept": "application/x-ndjson"}
SECONDS = 30.0  #: until something that should happen counts as not happening


class Generators:
    """Functions that stages of these tests name as ``rest_generators.<function>``."""

    def __init__(self, stages: Stages) -> None:
        self.stages, self.closed = stages, asyncio.Event()

    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    async def gated(self) -> AsyncIterator[str]:
        try:
            yield "first"
            self.stages.reached.set()
            await self.stages.gate.wait()
            yield "second"
        finally:
            self.closed.set()

    def failing(self) -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("no more")

    def stand_in(self, *_: object) -> list[int]:
        return [7, 8, 9]

    async def flood(self, n: int) -> AsyncIterator[str]:
        for _ in range(n):
            yield "x" * 100_000
            await asyncio.sleep(0)
        self.stages.reached.set()
        await self.stages.gate.wait()

    def listed(self) -> list[dict[str, int]]:
        return [{"n": 1}, {"n": 2}]


@pytest.fixture
async def generators(
    live: httpx.AsyncClient, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> Generators:
    """The functions, each as the only stage of a workflow with its name."""
    made = Generators(stages)
    monkeypatch.setitem(__import__("sys").modules, "rest_generators", made)
    for name in ("count", "gated", "failing", "flood", "listed"):
        stage = {"name": "only", "target": f"rest_generators.{name}"}
        target = "breaking" if name == "failing" else name
        workflow = {"metadata": {"name": target}, "spec": {"stages": [stage]}}
        assert (await live.post("/workflows/", json=workflow)).status_code == 200
    return made


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, path: str, **options: Any
) -> AsyncIterator[Listener]:
    """Start a run as a stream of events."""
    headers = STREAM | options.pop("headers", {})
    async with client.stream("POST", path, headers=headers, **options) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Listener(response.aiter_lines(), response)


async def streamed(client: httpx.AsyncClient, path: str, **options: Any) -> list[Message]:
    async with streaming(client, path, **options) as stream:
        return await stream.all()


def told(messages: list[Message]) -> list[Any]:
    return [message.data for message in messages if message.event == "item"]


def lines(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


async def test_an_item_is_told_while_the_run_goes_on(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    async with streaming(live, "/workflows/gated/run") as stream:
        first = await stream.next()
        uid = stream.response.headers["x-run-uid"]
        state = (await live.get(f"/workflows/run/{uid}")).json()["state"]
        generators.stages.gate.set()
        second, end = await stream.all()

    assert (first.event, first.data, second.data) == ("item", "first", "second")
    assert (state, end.event) == ("running", "end")
    assert end.data | {"name": ""} == {"state": "finished", "uid": uid, "name": "", "items": 2}
    assert (await live.get(f"/workflows/run/{uid}")).json()["result"] == ["first", "second"]


async def test_items_come_as_lines_of_json(live: httpx.AsyncClient, generators: Generators) -> None:
    response = await live.post("/workflows/count/run", json={"n": 2000}, headers=LINES)

    *items, end = lines(response)
    assert items == [{"item": i} for i in range(2000)]
    assert end["end"]["state"] == "finished"
    assert end["end"]["uid"] == response.headers["x-run-uid"]


@pytest.mark.parametrize(
    ("workflow", "given", "items"),
    [
        ("count", {"n": 0}, []),
        ("listed", {}, [{"n": 1}, {"n": 2}]),
        ("echo", {"a": 1}, [{"a": 1}]),
        ("large", {}, ["x" * 100_000]),
    ],
)
async def test_any_result_is_told_as_items(
    live: httpx.AsyncClient, generators: Generators, workflow: str, given: Any, items: list[Any]
) -> None:
    messages = await streamed(live, f"/workflows/{workflow}/run", json=given)

    assert told(messages) == items
    assert messages[-1].data["items"] == len(items)


async def test_a_generator_that_fails_says_so_behind_its_items(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    response = await live.post("/workflows/breaking/run", headers=LINES)

    item, end = lines(response)
    assert item == {"item": 1}
    assert end["end"]["state"] == "failed"
    why = {"type": "ZeroDivisionError", "message": "no more", "stage": "only"}
    assert end["end"]["error"] == why


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html, */*;q=0.8"])
async def test_others_get_the_run_as_ever(
    live: httpx.AsyncClient, generators: Generators, accept: str
) -> None:
    reply = await live.post("/workflows/count/run", json={"n": 2}, headers={"Accept": accept})

    assert reply.json()["result"] == [0, 1]


async def test_who_does_not_wait_gets_no_stream(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    reply = await live.post("/workflows/gated/run?wait=false", headers=STREAM)

    assert reply.json()["state"] == "running"
    generators.stages.gate.set()


async def test_what_cannot_start_is_refused_as_ever(live: httpx.AsyncClient) -> None:
    missing = await live.post("/workflows/nothing/run", headers=STREAM)
    wrong = await live.post("/workflows/echo/run?cancel_on_disconnect=maybe", headers=STREAM)

    assert (missing.status_code, missing.json()["status_code"]) == (404, 404)
    assert (wrong.status_code, wrong.json()["status_code"]) == (422, 422)


# Callers that leave, and slow ones


async def test_a_run_goes_on_without_its_caller(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    async with streaming(live, "/workflows/gated/run") as stream:
        await stream.next()
        uid = stream.response.headers["x-run-uid"]

    generators.stages.gate.set()

    async with asyncio.timeout(SECONDS):
        await generators.closed.wait()
        while (run := (await live.get(f"/workflows/run/{uid}")).json())["state"] == "running":
            pass
    assert (run["state"], run["result"]) == ("finished", ["first", "second"])


async def test_a_run_is_cancelled_with_its_caller_where_that_is_asked_for(
    live: httpx.AsyncClient, generators: Generators, server: Server
) -> None:
    path = "/workflows/gated/run?cancel_on_disconnect=true"
    async with streaming(live, path) as stream:
        await stream.next()
        uid = stream.response.headers["x-run-uid"]

    async with asyncio.timeout(SECONDS):
        await generators.closed.wait()
        ended = await server.engine.wait((await server.engine.find_run(uid)).uid)
    assert ended.run.state is RunState.CANCELLED


async def test_who_reads_to_the_end_cancels_nothing(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    path = "/workflows/count/run?cancel_on_disconnect=true"
    end = (await streamed(live, path, json={"n": 3}))[-1].data

    assert (await live.get(f"/workflows/run/{end['uid']}")).json()["state"] == "finished"


async def test_who_takes_too_little_is_told_so_and_the_run_has_all(
    live: httpx.AsyncClient,
    generators: Generators,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "BEHIND_BYTES", 1_000_000)
    async with streaming(live, "/workflows/flood/run", json={"n": 300}) as stream:
        async with asyncio.timeout(SECONDS):
            await generators.stages.reached.wait()  # all are yielded, and nobody has read

        messages = await stream.all()

    generators.stages.gate.set()
    assert messages[-1].event == "error"
    assert messages[-1].data["type"] == "TooSlow"
    assert 0 < len(told(messages)) < 300
    uid = stream.response.headers["x-run-uid"]
    ended = await server.engine.wait((await server.engine.find_run(uid)).uid)
    assert len(json.loads(ended.result or b"")) == 300


async def test_who_was_slow_has_the_rest_of_a_run_that_has_ended(
    live: httpx.AsyncClient,
    generators: Generators,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "BEHIND_BYTES", 1_000_000)
    generators.stages.gate.set()
    async with streaming(live, "/workflows/flood/run", json={"n": 300}) as stream:
        async with asyncio.timeout(SECONDS):
            await generators.stages.reached.wait()
            await server.engine.drained()

        messages = await stream.all()

    assert len(told(messages)) == 300
    assert messages[-1].data["state"] == "finished"


async def test_a_server_that_stops_says_that_it_does(
    live: httpx.AsyncClient, generators: Generators, server: Server
) -> None:
    service = RestService(server)
    await service.start()
    address = server.addresses["rest"]
    async with (
        httpx.AsyncClient(base_url=address) as client,
        streaming(client, "/workflows/gated/run") as stream,
    ):
        await stream.next()
        stopping = asyncio.create_task(service.stop())

        (error,) = await stream.all()

        await stopping
    generators.stages.gate.set()
    assert error.event == "error"
    assert "the server stops" in error.data["message"]


async def test_a_stream_ends_when_its_token_is_revoked(
    live: httpx.AsyncClient,
    generators: Generators,
    server: Server,
    texts: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowdapt_rest.revocable.LOOK_SECONDS", 0.01)
    headers = bearer(texts["operate"])
    async with streaming(live, "/workflows/gated/run", headers=headers) as stream:
        await stream.next()

        await Tokens(server.engine.storage).revoke("the-operate")

        assert await stream.all() == []
    generators.stages.gate.set()


# Keys, and runs that begin anew


async def test_a_key_has_the_items_of_a_run_that_has_ended(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    asked: dict[str, Any] = {"json": {"n": 3}, "headers": {"Idempotency-Key": "a"}}

    first, again = [await streamed(live, "/workflows/count/run", **asked) for _ in range(2)]

    assert told(first) == told(again) == [0, 1, 2]
    assert first[-1].data == again[-1].data


async def test_a_key_has_all_items_of_a_run_in_progress(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    key = {"Idempotency-Key": "b"}
    async with streaming(live, "/workflows/gated/run", headers=key) as stream:
        await stream.next()
        async with streaming(live, "/workflows/gated/run", headers=key) as late:
            first = await late.next()
            generators.stages.gate.set()

            assert (first.data, told(await late.all())) == ("first", ["second"])
            assert told(await stream.all()) == ["second"]


async def test_who_lost_the_connection_begins_anew_with_its_key(
    live: httpx.AsyncClient, generators: Generators, server: Server
) -> None:
    key = {"Idempotency-Key": "c"}
    async with streaming(live, "/workflows/gated/run", headers=key) as stream:
        await stream.next()

    async with streaming(live, "/workflows/gated/run", headers=key) as again:
        assert (await again.next()).data == "first"
        generators.stages.gate.set()
        assert told(await again.all()) == ["second"]

    await server.engine.drained()
    assert not server.engine.events.heard(ITEM_YIELDED)


async def test_of_a_run_with_much_to_keep_all_comes_at_its_end(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    asked: Any = {"json": {"n": 20}, "headers": {"Idempotency-Key": "d"}}
    async with streaming(live, "/workflows/flood/run", **asked) as stream:
        await generators.stages.reached.wait()
        async with streaming(live, "/workflows/flood/run", **asked) as late:
            generators.stages.gate.set()

            assert len(told(await late.all())) == len(told(await stream.all())) == 20


async def test_a_retry_streams_as_well(live: httpx.AsyncClient, generators: Generators) -> None:
    first = (await streamed(live, "/workflows/count/run", json={"n": 3}))[-1].data

    again = await streamed(live, f"/workflows/run/{first['uid']}/retry")

    assert told(again) == [0, 1, 2]
    assert again[-1].data["uid"] != first["uid"]


async def test_a_retry_has_no_use_for_a_key(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    first = (await streamed(live, "/workflows/count/run", json={"n": 3}))[-1].data
    headers = {"Idempotency-Key": "two words"}

    again = await streamed(live, f"/workflows/run/{first['uid']}/retry", headers=headers)

    assert told(again) == [0, 1, 2]


async def test_who_was_there_learns_that_a_stage_begins_anew(
    live: httpx.AsyncClient, generators: Generators, server: Server
) -> None:
    async with streaming(live, "/workflows/gated/run") as stream:
        await stream.next()
        run = await server.engine.find_run(stream.response.headers["x-run-uid"])

        server.engine._on_item(run.uid, "only", 0, b'"anew"')
        messages = [await stream.next(), await stream.next()]

        generators.stages.gate.set()
        end = (await stream.all())[-1]
    assert [(one.event, one.data) for one in messages] == [
        ("restart", {"items": 1}),
        ("item", "anew"),
    ]
    assert end.event == "end"


def test_a_feed_takes_what_follows_upon_the_last_and_no_more() -> None:
    feed = feeds.Feed()

    for number, text in [(0, b"1"), (2, b"3"), (3, b"4")]:
        feed.take(number, text)

    assert feed.piece() == [("item", b"1")]
    assert feed.piece() == []


def test_who_comes_late_hears_of_no_attempt_but_the_last() -> None:
    kept, late = feeds.Feed(), feeds.Feed()
    for number, text in [(0, b"1"), (1, b"2"), (0, b"3")]:
        kept.take(number, text)

    late.begin_with(kept)
    late.take(1, b"4")

    assert late.piece() == [("item", b"3"), ("item", b"4")]


def test_what_begins_anew_is_told_once_however_often_that_is() -> None:
    feed = feeds.Feed()

    for number, text in [(0, b"1"), (1, b"2"), (0, b"3"), (0, b"4"), (1, b"5")]:
        feed.take(number, text)

    assert feed.piece()[-2:] == [("item", b"4"), ("item", b"5")]
    assert feed.count == 2


async def test_what_stands_in_for_a_generator_that_failed_is_told_instead_of_its_items(
    live: httpx.AsyncClient, generators: Generators
) -> None:
    options = {"on_failure": "rest_generators.stand_in"}
    stage = {"name": "only", "target": "rest_generators.failing", "options": options}
    workflow = {"metadata": {"name": "mended"}, "spec": {"stages": [stage]}}
    assert (await live.post("/workflows/", json=workflow)).status_code == 200

    messages = await streamed(live, "/workflows/mended/run")

    events = [message.event for message in messages]
    assert events[events.index("restart") :] == ["restart", "item", "item", "item", "end"]
    assert [m.data for m in messages[-4:-1]] == [7, 8, 9]
    assert messages[-1].data["items"] == 3


@pytest.mark.parametrize(
    ("result", "messages"),
    [
        (b'[1,"2"]', []),
        (b'[1,"2",3]', [("item", b"3")]),
        (b'[1,"3",2]', [("restart", b'{"items":2}'), *(("item", b) for b in (b"1", b'"3"', b"2"))]),
        (b'[1,"3"]', [("restart", b'{"items":2}'), ("item", b"1"), ("item", b'"3"')]),
        (b"[1]", [("restart", b'{"items":2}'), ("item", b"1")]),
        (b"[]", [("restart", b'{"items":2}')]),
        (b'"12345"', [("restart", b'{"items":2}'), ("item", b'"12345"')]),
    ],
)
def test_a_feed_ends_with_the_items_of_the_result_alone(
    result: bytes, messages: list[feeds.Message]
) -> None:
    feed = feeds.Feed()
    for number, text in [(0, b"1"), (1, b'"2"')]:
        feed.take(number, text)
    feed.piece()

    feed.complete(result)

    assert feed.piece() == messages


async def test_nobody_hears_once_all_streams_are_over(
    live: httpx.AsyncClient, generators: Generators, server: Server
) -> None:
    await streamed(live, "/workflows/count/run", json={"n": 3})
    assert (await live.post("/workflows/none/run", headers=STREAM)).status_code == 404

    assert not server.engine.events.heard(ITEM_YIELDED)
