"""The server's side of a cluster, over one that computes in its gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage
from flowdapt_workers import connection

from flowdapt.errors import ServerError
from flowdapt.events import ITEM_YIELDED, STAGE_CHANGED, Event
from flowdapt.executors import Host
from flowdapt.runs import Run, RunState, StageRecord

from .here import HereExecutor

pytestmark = pytest.mark.anyio

LARGE = 300_000  #: bytes, more than what travels in messages


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def options() -> dict[str, Any]:
    return {}


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """The files of the cluster."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    nodes(folder, barn={"cpus": 2.0})
    return folder


@pytest.fixture
async def desk(
    tmp_path: Path, cluster: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    monkeypatch.setattr(connection, "RECONNECT_SECONDS", (0.05, 0.1))
    desk = await Desk.over(HereExecutor(folder=str(cluster), **options), tmp_path)
    yield desk
    await desk.engine.stop()


def nodes(cluster: Path, **amounts: Mapping[str, float | str]) -> None:
    """Say which nodes there are."""
    part = cluster / "part"
    part.write_text(json.dumps(amounts))
    part.replace(cluster / "nodes")


def kill_gateway() -> None:
    """Kill the process that holds the connection, as a node that runs out of memory would."""
    (gateway,) = [
        child for child in psutil.Process().children() if "gateway" in " ".join(child.cmdline())
    ]
    os.kill(gateway.pid, signal.SIGKILL)


def large() -> bytes:
    return bytes(LARGE)


def once_there(mark: str) -> Callable[[], str]:
    """Return what waits for a file."""

    def waits() -> str:
        import os
        import time

        while not os.path.exists(mark):
            time.sleep(0.01)
        return "done"

    return waits


async def stages_are(
    desk: Desk, run: Run, condition: Callable[[Sequence[StageRecord]], bool]
) -> None:
    """Wait until the stages of a run are as they should be."""
    async with asyncio.timeout(120):
        while not condition(await desk.engine.stages(run.uid)):  # noqa: ASYNC110 - no event is set
            await asyncio.sleep(0.01)


# Results -------------------------------------------------------------------------------------


async def test_what_is_large_stays_on_the_cluster_and_is_handed_on(desk: Desk) -> None:
    result = await desk.result(
        stage("a", large),
        stage("b", lambda block: [block, block], "a"),
        mapped_stage("c", len, "b"),
        stage("d", sum, "c"),
    )

    assert result == 2 * LARGE


async def test_a_large_result_of_a_run_is_brought_here(desk: Desk) -> None:
    assert await desk.result(stage("a", lambda: "x" * LARGE)) == "x" * LARGE


async def test_results_that_are_lost_with_a_node_are_made_again(desk: Desk, cluster: Path) -> None:
    (cluster / "lost").touch()

    assert await desk.result(stage("a", large), stage("b", len, "a")) == LARGE
    assert not (cluster / "lost").exists()


async def test_elements_are_not_taken_for_others_where_others_fail_when_they_are_made_again(
    desk: Desk, cluster: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    def each(x: int) -> bytes:
        if x == 1 and not mark.exists():
            mark.touch()
            raise ConnectionError
        return bytes([x]) * LARGE

    stored = await desk.run(
        mapped_stage("a", each, map_on="xs", chunk_size=4, retries=1),
        stage("lost", (cluster / "lost").touch),
        stage("b", lambda blocks, _: [block[0] for block in blocks], "a", "lost"),
        xs=[0, 1, 2, 3],
    )

    assert stored.run.failure is None  # all of them were computed again
    assert stored.result == b"[0,1,2,3]"


async def test_many_results_are_made_again_of_which_a_cluster_tells_one_by_one(
    desk: Desk, cluster: Path
) -> None:
    (cluster / "doomed").touch()
    names = [f"a{k}" for k in range(5)]

    result = await desk.result(
        *(stage(name, large) for name in names),
        stage("b", lambda *blocks: [len(block) for block in blocks], *names),
    )

    assert result == [LARGE] * 5
    assert not (cluster / "doomed").exists()


async def test_what_is_made_again_stops_when_its_run_is_cancelled(
    desk: Desk, cluster: Path, tmp_path: Path
) -> None:
    first, again, go = (str(tmp_path / name) for name in ("first", "again", "go"))
    wait = once_there(go)

    def made() -> bytes:
        if not Path(first).exists():
            Path(first).touch()
        else:
            Path(again).touch()
            wait()
        return b"x" * LARGE

    (cluster / "lost").touch()
    run = await desk.begin(stage("a", made), stage("b", len, "a"))
    await until(Path(again).exists)

    await desk.engine.cancel(run.uid)

    await until((cluster / "cancelled").exists)
    Path(go).touch()  # the thread of the gateway ends, too


async def test_a_run_is_cancelled_once_nothing_of_it_is_computed_any_more(
    desk: Desk, cluster: Path, tmp_path: Path
) -> None:
    begun, go = (str(tmp_path / name) for name in ("begun", "go"))
    wait = once_there(go)

    def waits() -> None:
        Path(begun).touch()
        wait()

    (cluster / "slow").touch()
    run = await desk.begin(stage("a", waits))
    await until(Path(begun).exists)

    await desk.engine.cancel(run.uid)

    assert (cluster / "cancelled").exists()
    Path(go).touch()  # the thread of the gateway ends, too


async def test_an_order_that_is_lost_is_sent_again(desk: Desk, cluster: Path) -> None:
    (cluster / "dies").touch()

    stored = await desk.run(stage("a", lambda: 7))

    assert stored.result == b"7"
    assert (await desk.record(stored)).attempts == 2


async def test_elements_are_sent_in_few_orders(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    executor: Any = desk.executor
    send = executor._send

    def counted(job: Any, unit: Any) -> None:
        sent.append(unit.count)
        send(job, unit)

    monkeypatch.setattr(executor, "_send", counted)

    result = await desk.result(
        mapped_stage("a", lambda x: x, map_on="xs"), stage("b", sum, "a"), xs=list(range(20_000))
    )

    assert result == sum(range(20_000))
    assert len(sent) < 100


# Resources -----------------------------------------------------------------------------------


async def test_what_fits_on_no_node_is_refused_and_the_shortage_named(
    desk: Desk, cluster: Path
) -> None:
    one = stage("big", large, resources={"cpus": 2, "gpus": 0.5})

    stored = await desk.run(one)

    assert stored.run.failure is not None
    assert stored.run.failure.type == "NeverFits"
    assert stored.run.failure.message == (
        "stage 'big' asks for 0.5 gpus, and the executor has 0 in all"
    )


async def test_what_no_node_can_compute_is_refused_with_the_reason_of_each(
    desk: Desk, cluster: Path
) -> None:
    nodes(cluster, barn={"cpus": 2.0, "problem": "it is on fire"})
    async with asyncio.timeout(60):
        while not (await desk.executor.nodes())[0].problem:  # noqa: ASYNC110 - it looks each second
            await asyncio.sleep(0.01)

    stored = await desk.run(stage("a", large))

    assert stored.run.failure is not None
    assert stored.run.failure.type == "NodesUnfit"
    assert stored.run.failure.message == (
        "stage 'a' can be computed on no node (barn: it is on fire)"
    )


class TestElastic:
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"elastic": True}

    async def test_what_fits_on_no_node_waits_for_one_and_says_so(
        self, desk: Desk, cluster: Path
    ) -> None:
        told: asyncio.Queue[Any] = asyncio.Queue()
        with desk.engine.events.listening(told.put_nowait):
            run = await desk.begin(stage("big", lambda: 7, resources={"gpus": 1}))
            while (event := await told.get()).type != STAGE_CHANGED or not event.data["waiting"]:
                pass
        said = "no node has 1 gpus; the most that one has is 0"
        assert event.data["waiting"] == said
        assert [one.waiting for one in await desk.engine.stages(run.uid)] == [said]

        nodes(cluster, barn={"cpus": 2.0}, shed={"cpus": 1.0, "gpus": 1.0})

        stored = await desk.engine.wait(run.uid)
        assert stored.result == b"7"
        assert (await desk.record(stored)).waiting is None

    async def test_what_fits_on_no_node_holds_up_nothing_of_a_lower_priority(
        self, desk: Desk
    ) -> None:
        each = mapped_stage("a", lambda n: n, map_on="n", chunk_size=1)
        large = each | {"priority": 1, "resources": {"cpus": 100}}

        waits = await desk.begin(large, n=list(range(100)))
        result = await asyncio.wait_for(desk.result(each, n=[1, 2]), 30)

        assert result == [1, 2]
        await desk.engine.cancel(waits.uid)


async def test_nodes_are_listed(desk: Desk, cluster: Path) -> None:
    nodes(cluster, barn={"cpus": 2.0}, shed={"cpus": 4.0})

    async with asyncio.timeout(60):
        while len(await desk.executor.nodes()) < 2:  # noqa: ASYNC110 - it looks each second
            await asyncio.sleep(0.05)

    assert desk.executor.describe() == {"address": "here", "nodes": ["barn", "shed"]}


# The cluster is lost -------------------------------------------------------------------------


async def test_a_cluster_that_cannot_be_reached_keeps_the_server_from_starting(
    tmp_path: Path, cluster: Path
) -> None:
    (cluster / "closed").write_text("the gate is shut")
    executor = HereExecutor(folder=str(cluster))

    with pytest.raises(ServerError, match="the Here cluster is not available: the gate is shut"):
        await executor.start(Host(app_dir=tmp_path))

    await executor.stop()


async def test_an_option_that_the_cluster_does_not_know_is_named(tmp_path: Path) -> None:
    executor = HereExecutor(folder=str(tmp_path), colour="red")

    with pytest.raises(ServerError, match="colour"):
        await executor.start(Host(app_dir=tmp_path))

    await executor.stop()


async def test_a_stage_under_way_is_computed_again_once_the_cluster_is_back(
    desk: Desk, cluster: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    run = await desk.begin(stage("a", once_there(str(mark))))
    closed = cluster / "closed"
    closed.write_text("the gate is shut")

    kill_gateway()
    await until(lambda: desk.executor.describe().get("unavailable") == "the gate is shut")
    (record,) = await desk.engine.stages(run.uid)
    assert record.waiting == "the Here cluster is not available: the gate is shut"
    closed.unlink()
    mark.touch()

    stored = await desk.engine.wait(run.uid)
    assert stored.result == b'"done"'
    assert await desk.result(stage("a", lambda: 7)) == 7
    assert "unavailable" not in desk.executor.describe()


async def test_results_that_are_lost_with_the_cluster_are_made_again(
    desk: Desk, cluster: Path, tmp_path: Path
) -> None:
    mark = str(tmp_path / "mark")

    def waits(block: bytes) -> int:
        once_there(mark)()
        return len(block)

    run = await desk.begin(stage("a", large), stage("b", waits, "a"))
    await stages_are(desk, run, lambda records: len(records) == 2)

    kill_gateway()
    Path(mark).touch()

    stored = await desk.engine.wait(run.uid)
    assert (stored.run.failure, stored.result) == (None, str(LARGE).encode())


async def test_elements_that_are_lost_with_the_cluster_are_made_again(
    desk: Desk, tmp_path: Path
) -> None:
    mark = str(tmp_path / "mark")
    wait = once_there(mark)

    def each(x: int) -> bytes:
        if x:
            wait()
        return bytes(LARGE)

    stages = mapped_stage("a", each, map_on="xs"), stage("b", lambda a: sum(map(len, a)), "a")
    run = await desk.begin(*stages, xs=[0, 1])
    await stages_are(desk, run, lambda records: any(r.items_done for r in records))

    kill_gateway()
    Path(mark).touch()

    stored = await desk.engine.wait(run.uid)
    assert (stored.run.failure, stored.result) == (None, str(2 * LARGE).encode())


async def test_what_was_lost_before_it_was_taken_is_made_again(desk: Desk, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    run = await desk.begin(
        stage("a", large),
        stage("b", once_there(mark)),
        stage("c", lambda block, _: len(block), "a", "b"),
    )
    await stages_are(desk, run, lambda records: records[0].state is not RunState.RUNNING)

    kill_gateway()
    Path(mark).touch()

    stored = await desk.engine.wait(run.uid)
    assert (stored.run.failure, stored.result) == (None, str(LARGE).encode())
    names = [record.stage for record in await desk.engine.stages(run.uid)]
    assert sorted(names) == ["a", "b", "c"]


async def test_what_is_lost_again_and_again_fails_the_run_and_says_so(
    desk: Desk, tmp_path: Path
) -> None:
    mark = str(tmp_path / "mark")
    begun = tmp_path / "begun"

    def waits(block: bytes) -> int:
        begun.touch()
        once_there(mark)()
        return len(block)

    run = await desk.begin(stage("a", large), stage("b", waits, "a"))
    for _ in range(3):
        await until(begun.exists)
        begun.unlink()
        kill_gateway()

    stored = await desk.engine.wait(run.uid)
    assert stored.run.failure is not None
    assert stored.run.failure.type == "ResultsLost"
    assert "what stage 'b' takes" in stored.run.failure.message


async def test_a_gateway_ends_with_its_server(desk: Desk, cluster: Path) -> None:
    await desk.engine.stop()

    assert (cluster / "ended").exists()
    assert not [c for c in psutil.Process().children() if "gateway" in " ".join(c.cmdline())]


async def test_what_a_generator_yields_comes_again_from_the_next_gateway(
    desk: Desk, tmp_path: Path
) -> None:
    mark = str(tmp_path / "mark")

    def yields() -> Iterator[str]:
        yield "first"
        yield once_there(mark)()

    told: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    def hear(event: Event) -> None:
        told.put_nowait((event.data["number"], json.loads(event.data["item"])))

    with desk.engine.events.listening(hear, ITEM_YIELDED):
        run = await desk.begin(stage("a", yields))
        first = await asyncio.wait_for(told.get(), 60)
        kill_gateway()
        again = await asyncio.wait_for(told.get(), 60)
        Path(mark).touch()
        await desk.ended(run)

    assert first == again == (0, "first")
    assert told.get_nowait() == (1, "done")
