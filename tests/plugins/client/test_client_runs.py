"""Starting, following, finding and ending runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flowdapt_client import runs as calls

from flowdapt.client import AsyncClient, Client, NoServer, Refused, Run, RunFailed
from flowdapt.errors import ResourceNotFound
from flowdapt.runs import RunState, StageRecord

from .conftest import Begin
from .serving import SECONDS, Served, workflow


class Told:
    """What is told of the stages of a run."""

    def __init__(self) -> None:
        self.last: Sequence[StageRecord] = ()
        self.half = threading.Event()  #: the first element of `weigh` is done

    def __call__(self, stages: Sequence[StageRecord]) -> None:
        self.last = stages
        if any(one.stage == "weigh" and one.items_done == 1 for one in stages):
            self.half.set()


def test_a_run_is_started_with_its_input(client: Client) -> None:
    begun = client.runs.start("echo", {"n": 3}, namespace="farm")

    ended = client.runs.wait(begun)

    assert isinstance(begun, Run)
    assert (begun.workflow, begun.input, begun.namespace) == ("echo", {"n": 3}, "farm")
    assert (ended.uid, ended.value()) == (begun.uid, {"n": 3})


def test_a_start_that_is_asked_for_again_with_its_key_finds_the_run(client: Client) -> None:
    first = client.runs.start("echo", {"n": 4}, key="four")
    again = client.runs.run("echo", {"n": 4}, key="four")

    assert first.uid == again.uid
    with pytest.raises(Refused, match="stands for the run"):
        client.runs.start("echo", {"n": 5}, key="four")


def test_a_missing_workflow_is_named(client: Client) -> None:
    with pytest.raises(ResourceNotFound, match="no workflow named 'friut'"):
        client.runs.run("friut")


def test_waiting_tells_how_the_stages_go_on_and_returns_the_result(
    client: Client, gate: Path, begin: Begin
) -> None:
    told = Told()
    ended = begin(lambda: client.runs.run("fruit", {"gate": str(gate)}, progress=told))
    assert told.half.wait(SECONDS)

    gate.touch()

    assert ended.result(SECONDS).value() == [0, 2, 4]
    assert [(one.stage, one.state, one.items_done) for one in told.last] == [
        ("pick", RunState.FINISHED, 0),
        ("weigh", RunState.FINISHED, 3),
    ]


def test_waiting_outlives_a_connection(
    client: Client, served: Served, gate: Path, begin: Begin
) -> None:
    told = Told()
    ended = begin(lambda: client.runs.run("fruit", {"gate": str(gate)}, progress=told))
    assert told.half.wait(SECONDS)

    served.cut()
    gate.touch()

    assert ended.result(SECONDS).value() == [0, 2, 4]


def test_a_run_that_ended_while_nobody_could_ask_is_found_to_have_ended(
    client: Client, served: Served, gate: Path, begin: Begin
) -> None:
    told = Told()
    run = client.runs.start("fruit", {"gate": str(gate)})
    ended = begin(lambda: client.runs.wait(run, progress=told))
    assert told.half.wait(SECONDS)

    served.cut(answered=False)
    gate.touch()
    served.do(served.server.engine.wait(run.uid))
    served.cut()

    assert ended.result(SECONDS).value() == [0, 2, 4]


def test_a_run_that_has_ended_is_not_waited_for(client: Client) -> None:
    run = client.runs.run("echo")

    assert client.runs.wait(run.name).value() == {}


def test_a_run_that_failed_has_no_value(client: Client) -> None:
    ended = client.runs.run("rotten", {"gate": "no"})

    with pytest.raises(RunFailed, match="failed: ValueError: 1 is odd\nTraceback") as raised:
        ended.value()
    assert raised.value.type == "ValueError"


def test_a_missing_run_is_named_whatever_is_asked(client: Client) -> None:
    for ask in (client.runs.wait, client.runs.get, client.runs.stages, client.runs.cancel):
        with pytest.raises(ResourceNotFound, match="no run named 'gone'"):
            ask("gone")
    with pytest.raises(ResourceNotFound, match="no run named 'gone'"):
        list(client.runs.logs("gone", follow=True))


def test_runs_are_listed_page_by_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAGE", 2)
    client.workflows.create(workflow("listed", "echo"))
    names = [client.runs.run("listed").name for _ in range(5)]

    assert [run.name for run in client.runs.list("listed")] == names[::-1]
    assert [run.name for run in client.runs.list("listed", order="oldest")] == names
    assert [run.name for run in client.runs.list(limit=3)] == names[:1:-1]
    assert [run.name for run in client.runs.list(limit=0)] == []


def test_runs_are_filtered(client: Client) -> None:
    failed = client.runs.run("rotten", {"gate": "no"})
    client.runs.run("echo")
    later = datetime.now(UTC) + timedelta(hours=1)

    found = client.runs.list("rotten", state=[RunState.FAILED, "cancelled"])

    assert next(found).uid == failed.uid
    assert {run.state for run in found} <= {RunState.FAILED}
    assert [*client.runs.list("echo", state="failed")] == []
    assert [*client.runs.list(since=later)] == []


def test_elements_that_failed_are_listed_page_by_page_and_computed_again(
    client: Client, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ITEMS", 2)
    run = client.runs.run("spotty", {"n": 6, "gate": str(gate)})
    failed = [*client.runs.items(run, state="failed")]
    gate.touch()

    again = client.runs.wait(client.runs.retry(run, items="failed"))

    assert [(one.stage, one.item, one.type) for one in failed] == [
        ("sort", item, "ValueError") for item in (1, 3, 5)
    ]
    assert (again.retry_of, again.value()) == (run.uid, [1, 3, 5])


def test_elements_are_listed_with_how_long_they_took_and_summed_up(
    client: Client, gate: Path
) -> None:
    run = client.runs.run("spotty", {"n": 4, "gate": str(gate)})

    slowest = [*client.runs.items(run, stage="sort", order="slowest")]
    finished = [*client.runs.items(run, state="finished")]
    (summary,) = client.runs.item_summaries(run)

    seconds = [item.seconds or 0 for item in slowest]
    assert seconds == sorted(seconds, reverse=True)
    assert [(item.item, item.state, item.type) for item in finished] == [
        (0, "finished", ""),
        (2, "finished", ""),
    ]
    assert (summary.stage, summary.count, summary.done, summary.failed) == ("sort", 4, 4, 2)
    assert summary.seconds is not None
    assert summary.seconds.most == seconds[0]


def test_a_run_is_cancelled_and_removed(client: Client, gate: Path) -> None:
    run = client.runs.start("speak", {"gate": str(gate)})

    assert client.runs.cancel(run).state is RunState.CANCELLED
    assert client.runs.delete(run.name).uid == run.uid
    with pytest.raises(ResourceNotFound):
        client.runs.get(run)


def test_a_log_is_read_as_it_stands(client: Client) -> None:
    run = client.runs.run("rotten", {"n": 1, "gate": "no"})

    lines = [*client.runs.logs(run)]

    assert [(line.stage, line.stream, line.message) for line in lines] == [
        ("pick", "stdout", "picking 1")
    ]


def test_a_log_is_followed_over_a_cut_line_without_losing_or_repeating_a_line(
    client: Client, served: Served, gate: Path
) -> None:
    lines = client.runs.logs(client.runs.start("speak", {"gate": str(gate)}), follow=True)
    assert next(lines).message == "one"

    served.cut()
    gate.touch()

    assert [line.message for line in lines] == ["two"]


def test_nobody_there_is_said_at_once() -> None:
    said = r"no server answers at http://127\.0\.0\.1:1; start one with"
    with Client("127.0.0.1:1") as client, pytest.raises(NoServer, match=said):
        client.runs.wait("x")


def test_several_threads_use_one_client(client: Client, gate: Path, begin: Begin) -> None:
    runs = [client.runs.start("fruit", {"n": n, "gate": str(gate)}) for n in range(4)]
    told = Told()
    waits = [begin(lambda run=run: client.runs.wait(run, progress=told)) for run in runs]  # type: ignore[misc]  # mypy takes no lambda with a default
    assert told.half.wait(SECONDS)

    gate.touch()

    values = [wait.result(SECONDS).value() for wait in waits]
    assert values == [[2 * item for item in range(n)] for n in range(4)]


@pytest.mark.anyio
async def test_the_same_calls_are_awaited(awaited: AsyncClient, gate: Path) -> None:
    gate.touch()
    run = await awaited.runs.start("fruit", {"gate": str(gate)})
    told = Told()

    assert (await awaited.runs.wait(run, progress=told)).value() == [0, 2, 4]
    assert [stage.stage for stage in told.last] == ["pick", "weigh"]
    assert [line.message async for line in awaited.runs.logs(run, follow=True)] == ["picking 3"]
    assert [one.uid async for one in awaited.runs.list(limit=1)] == [run.uid]
    with pytest.raises(ResourceNotFound):
        await awaited.runs.get("gone")


@pytest.mark.anyio
async def test_more_may_wait_than_a_pool_has_connections(awaited: AsyncClient, gate: Path) -> None:
    run = await awaited.runs.start("fruit", {"gate": str(gate)})
    told = Told()
    waits = [asyncio.ensure_future(awaited.runs.wait(run, progress=told)) for _ in range(120)]
    while not told.last:
        await awaited.runs.get(run)

    gate.touch()

    assert {ended.state for ended in await asyncio.gather(*waits)} == {"finished"}
