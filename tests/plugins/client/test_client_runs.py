"""Starting, following, finding and ending runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowdapt.client import AsyncClient, Client, NoServer, Run, RunFailed
from flowdapt.errors import ResourceNotFound
from flowdapt.runs import RunState, StageRecord

from .standin import StandIn


def in_background(work: Callable[[], Any]) -> Callable[[], Any]:
    """Do something in a thread; return what waits for its result."""
    found: list[Any] = []

    def do() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(30)
        assert found, "it takes too long"
        return found[0]

    return result


def test_a_run_is_started_with_its_input(client: Client, server: StandIn) -> None:
    run = client.runs.start("fruit", {"n": 3}, namespace="farm")

    assert isinstance(run, Run)
    assert (run.workflow, run.input, run.state) == ("fruit", {"n": 3}, RunState.RUNNING)
    assert dict(server.seen[-1].query_params) == {"wait": "false", "namespace": "farm"}


def test_a_missing_workflow_is_named(client: Client) -> None:
    with pytest.raises(ResourceNotFound, match="no workflow named 'friut'"):
        client.runs.run("friut")


def test_waiting_tells_how_the_stages_go_on_and_returns_the_result(
    client: Client, server: StandIn
) -> None:
    run = server.begin()
    told: list[list[tuple[str, str, int]]] = []

    def progress(stages: Any) -> None:
        told.append([(one.stage, one.state.value, one.items_done) for one in stages])

    ended = in_background(lambda: client.runs.wait(run["uid"], progress=progress))
    server.wait_for_streams(1)
    server.stage(run, "pick", items=2, items_done=1, kept=False)
    server.stage(run, "pick", items_done=2, state="finished")
    server.end(run, result=[1, 2], result_bytes=5)

    assert ended().value() == [1, 2]
    assert [("pick", "running", 1)] in told
    assert told[-1] == [("pick", "finished", 2)]


def test_a_run_that_has_ended_is_not_waited_for(client: Client, server: StandIn) -> None:
    run = server.begin()
    server.end(run, result=3)

    assert client.runs.wait(run["name"]).value() == 3


def test_waiting_outlives_a_connection(client: Client, server: StandIn) -> None:
    run = server.begin()
    ended = in_background(lambda: client.runs.wait(run["uid"]))
    server.wait_for_streams(1)

    server.cut()
    server.wait_for_streams(2)
    server.end(run, result="well")

    assert ended().value() == "well"


def test_waiting_looks_again_and_again_where_the_server_has_no_stream(
    client: Client, server: StandIn
) -> None:
    server.without_streams = True
    run = server.begin()
    looked = threading.Event()
    ended = in_background(lambda: client.runs.wait(run["uid"], progress=lambda _: looked.set()))
    assert looked.wait(30)

    server.end(run, result="seen")

    assert ended().value() == "seen"


def test_a_run_that_failed_has_no_value(client: Client, server: StandIn) -> None:
    run = server.begin()
    failure = {"type": "ValueError", "message": "rotten", "traceback": "Traceback ...\n"}
    server.end(run, "failed", failure=failure)

    ended = client.runs.wait(run["uid"])

    with pytest.raises(RunFailed, match="failed: ValueError: rotten\nTraceback") as raised:
        ended.value()
    assert raised.value.type == "ValueError"


def test_a_missing_run_is_named_whatever_is_asked(client: Client) -> None:
    for ask in (client.runs.wait, client.runs.get, client.runs.stages, client.runs.cancel):
        with pytest.raises(ResourceNotFound, match="no run named 'gone'"):
            ask("gone")
    with pytest.raises(ResourceNotFound, match="no run named 'gone'"):
        list(client.runs.logs("gone", follow=True))


def test_runs_are_listed_page_by_page(client: Client, server: StandIn) -> None:
    names = [server.begin()["name"] for _ in range(5)]

    assert [run.name for run in client.runs.list()] == names[::-1]
    assert [run.name for run in client.runs.list(limit=3)] == names[:1:-1]
    assert [run.name for run in client.runs.list(limit=0)] == []


def test_pages_are_turned_only_as_far_as_somebody_reads(client: Client, server: StandIn) -> None:
    for _ in range(5):
        server.begin()

    with client.runs.list() as runs:
        next(runs)

    assert sum(request.url.path == "/runs/" for request in server.seen) == 1


def test_runs_are_filtered(client: Client, server: StandIn) -> None:
    server.begin("other")
    failed = server.begin()
    server.end(failed, "failed")
    server.begin()
    later = datetime.now(UTC) + timedelta(hours=1)

    found = client.runs.list("fruit", state=[RunState.FAILED, "cancelled"])

    assert [run.name for run in found] == [failed["name"]]
    assert [*client.runs.list(since=later)] == []


def test_failed_items_are_listed_page_by_page(client: Client, server: StandIn) -> None:
    run = server.begin()
    server.failed_items = [
        {"stage": "pick", "item": item, "type": "E", "message": "", "traceback": ""}
        for item in range(5)
    ]

    assert [one.item for one in client.runs.items(run["uid"])] == [0, 1, 2, 3, 4]


def test_a_run_is_retried_and_knows_of_which_it_is_one(client: Client, server: StandIn) -> None:
    run = client.runs.start("fruit")

    again = client.runs.retry(run, items="failed")

    assert again.retry_of == run.uid
    assert server.seen_items == "failed"


def test_a_log_is_read_as_it_stands(client: Client, server: StandIn) -> None:
    run = server.begin()
    server.log(run, "pick", "one", "two")
    server.log(run, "sort", "three")

    lines = [*client.runs.logs(run["uid"])]

    assert [(line.stage, line.message) for line in lines] == [
        ("pick", "one"),
        ("pick", "two"),
        ("sort", "three"),
    ]


def test_a_log_is_followed_over_a_lost_connection_without_losing_or_repeating_a_line(
    client: Client, server: StandIn
) -> None:
    run = server.begin()
    server.log(run, "pick", "one")
    lines = client.runs.logs(run["uid"], follow=True)
    assert next(lines).message == "one"

    server.cut()
    server.log(run, "pick", "two")
    assert next(lines).message == "two"
    server.end(run)

    assert [*lines] == []
    assert server.streams == 2


def test_a_log_is_followed_where_the_server_has_no_stream(client: Client, server: StandIn) -> None:
    server.without_streams = True
    run = server.begin()
    server.log(run, "pick", "one")
    lines = client.runs.logs(run["uid"], follow=True)
    assert next(lines).message == "one"

    server.log(run, "pick", "two")
    server.end(run)

    assert [line.message for line in lines] == ["two"]


def test_nobody_there_is_said_at_once() -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(NoServer, match="no server answers at http://127.0.0.1:1; start one"):
            client.runs.wait("x")


@pytest.mark.anyio
async def test_the_same_calls_are_awaited(awaited: AsyncClient, server: StandIn) -> None:
    run = await awaited.runs.start("fruit")
    stages: list[StageRecord] = []
    server.stage(server.runs[-1], "pick", state="finished")
    server.log(server.runs[-1], "pick", "one")
    server.end(server.runs[-1], result=1)

    assert (await awaited.runs.wait(run, progress=stages.extend)).value() == 1
    assert [stage.stage for stage in stages] == ["pick"]
    assert [line.message async for line in awaited.runs.logs(run, follow=True)] == ["one"]
    assert [one.uid async for one in awaited.runs.list()] == [run.uid]
    with pytest.raises(ResourceNotFound):
        await awaited.runs.get("gone")
