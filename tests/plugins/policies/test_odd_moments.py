"""Options, restarts, cancels and full disks that meet one another."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from flowdapt_rest.retries import retry

from flowdapt.errors import StorageError
from flowdapt.runs import Run, RunState

from .conftest import House, stage

pytestmark = pytest.mark.anyio

SOURCE = """

def again(number):
    note(f"again {number}")
    context = get_run_context()
    if number == 2 and context.attempt == 1 and not (folder() / "mended").exists():
        raise ValueError("not yet")
    return 10 * number


def nine(failure, *results):
    return [9]


def given(failure, mode="none"):
    return mode


def text(*args, **values):
    note("text")
    return "x" * 300_000


def listed(*args, **values):
    note("listed")
    size = 300_000 if not (folder() / "small").exists() else 1
    name = "old" if size > 1 else "new"
    return [f"{name}-{n}" + " " * size for n in range(4)]


def other(*args, **values):
    note("other")
    while (folder() / "small").exists() and not (folder() / "go").exists():
        time.sleep(0.01)
    return "y" * 2_000_000


def each(text, other):
    while text[:3] == "old" and text[4] != "0" and not (folder() / "go").exists():
        time.sleep(0.01)
    return text[:5]
"""


@pytest.fixture(autouse=True)
async def source(house: House) -> None:
    """Have further functions in the house."""
    house.module.write_text(house.module.read_text() + SOURCE)


async def chunks(house: House, run: Run, count: int) -> None:
    """Wait until so many chunks of a run are stored."""
    async with asyncio.timeout(30):
        while True:
            found = await house.engine.storage.list_chunks(run.uid)
            if sum(map(len, found.values())) >= count:
                return
            await asyncio.sleep(0.01)


async def test_elements_around_one_that_is_retried_outlive_a_server(house: House) -> None:
    options: dict[str, Any] = {"chunk_size": 5, "retries": 2, "backoff": 3.0, "map_on": "xs"}
    await house.apply(stage("again", mapped=True, **options))
    run = await house.begin(xs=[1, 2, 3, 4, 5])
    await chunks(house, run, 1)
    house.go("mended")

    await house.serve()

    assert (await house.end(run)).result == b"[10,20,30,40,50]"
    assert house.done.count("again 1") == house.done.count("again 5") == 1


async def test_a_run_that_is_cancelled_as_its_turn_comes_ends(house: House) -> None:
    await house.apply(stage("wait"), concurrency="queue")
    first, second = await house.begin(gate="a"), await house.begin(gate="b")
    await house.until(lambda: "waiting" in house.done)
    walk = house.engine._walks[second.uid]

    async def cancel_in_time() -> None:
        while walk.run.state is RunState.PENDING:  # noqa: ASYNC110 - in the very turn
            await asyncio.sleep(0)
        await house.engine.cancel(second.uid)

    cancelling = asyncio.create_task(cancel_in_time())
    house.go("a")

    assert (await house.end(second)).run.state is RunState.CANCELLED
    await cancelling
    assert (await house.end(first)).run.state is RunState.FINISHED


async def test_a_server_stops_though_what_was_cancelled_cannot_be_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.apply(stage("wait"))
    run = await house.begin()
    await house.until(lambda: "waiting" in house.done)

    async def full(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(house.engine.storage, "save_run", full)
        cancelling = asyncio.ensure_future(house.engine.cancel(run.uid))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(house.engine.stop(), 20)
    assert isinstance((await asyncio.gather(cancelling, return_exceptions=True))[0], StorageError)


async def test_a_cache_never_gives_a_part_for_the_whole(house: House) -> None:
    each = stage("again", "numbers", mapped=True, cache="1h")
    await house.apply(stage("numbers"), each, stage("total", "again"))
    first = await house.end(await house.begin())
    assert first.result == b"40"
    house.go("mended")

    repeated = await retry(house.engine, first.run.uid, failed_items=True)

    assert (await house.end(repeated)).result == b"20"
    assert await house.result() == 60


async def test_a_cached_list_is_another_one_where_it_is_mapped_over(house: House) -> None:
    numbers = stage("numbers", cache="1h")
    await house.apply(numbers, stage("total", "numbers"))
    await house.apply(numbers, stage("double", "numbers", mapped=True), name="other")

    assert await house.result() == 6
    assert await house.result("other") == [2, 4, 6]


async def test_a_cache_never_gives_what_is_gone_with_another_run(house: House) -> None:
    await house.apply(stage("text", cache="1h"), stage("last", "text"), durable=True)

    for _ in range(2):
        assert len((await house.result())[0]) == 300_000
        await house.until(lambda: not [*house.app_dir.glob("artifacts/run-*/*")])
    assert house.done.count("text") == 2


async def test_what_maps_over_a_stand_in_gets_that(house: House) -> None:
    odd = stage("odd", "numbers", mapped=True, min_success=0.9, on_failure="farm_ruled.nine")
    await house.apply(stage("numbers"), odd, stage("double", "odd", mapped=True))

    assert await house.result() == [18]


async def test_what_stands_in_for_a_first_stage_is_given_the_input(house: House) -> None:
    await house.apply(stage("fail", on_failure="farm_ruled.given"))

    assert await house.result(mode="full") == "full"


async def test_elements_of_a_list_are_forgotten_by_the_server_that_makes_another_list(
    house: House,
) -> None:
    each = stage("each", "listed", "other", mapped=True, chunk_size=1)
    await house.apply(stage("listed"), stage("other"), each)
    run = await house.begin()
    await chunks(house, run, 1)
    house.go("small")
    await house.serve()  # the list is made anew, and small; what it is mapped with takes its time
    async with asyncio.timeout(30):
        while not any(  # noqa: ASYNC110
            record.result for record in await house.engine.storage.list_stages(run.uid)
        ):
            await asyncio.sleep(0.01)

    await house.serve()
    house.go()

    result = json.loads((await house.end(run)).result or b"")
    assert result == ["new-0", "new-1", "new-2", "new-3"]


async def test_a_chunk_and_a_definition_that_nobody_understands_keep_no_server_from_starting(
    house: House,
) -> None:
    await house.apply(stage("again", mapped=True, map_on="xs"), stage("wait", "again"))
    run, other = await house.begin(xs=[1]), await house.begin(xs=[1])
    await house.until(lambda: house.done.count("waiting") == 2)
    storage = house.engine.storage
    await storage.save_chunk(run.uid, "again", b"not of this release")
    spoilt = other.model_copy(update={"definition": "spoilt"})
    await storage.save_blob("definition/spoilt", b'{"metadata": {}, "spec": {}}')
    await storage.save_run(spoilt, was=RunState.RUNNING)

    await house.serve()
    house.go()

    assert (await house.end(run)).run.state is RunState.FINISHED
    failure = (await house.engine.get_run(other.uid)).run.failure
    assert failure is not None
    assert failure.type == "ServerStopped"
    assert "cannot be understood" in failure.message


async def test_after_an_edit_new_runs_begin_beside_many_old_ones(house: House) -> None:
    await house.apply(stage("wait"), concurrency="queue")
    await house.apply(stage("last"), name="other")
    for _ in range(101):
        await house.begin()
    house.module.write_text(house.module.read_text() + "\nedited = True\n")

    await house.serve()

    assert await house.result("other") == []


@pytest.mark.parametrize(("when", "runs"), [("input.items", False), ("len(input.keys) == 2", True)])
async def test_keys_of_the_input_are_no_methods(house: House, when: str, runs: bool) -> None:
    await house.apply(stage("start"), stage("last", "start", when=when))

    await house.result(items=[], keys=[1, 2])

    state = (await house.records())["last"].state
    assert state is (RunState.FINISHED if runs else RunState.SKIPPED)


async def test_a_run_from_before_the_option_counts_too(house: House) -> None:
    await house.apply(stage("wait"))
    await house.begin()
    await house.apply(stage("wait"), concurrency="queue")

    second = await house.begin()

    assert second.state is RunState.PENDING
    house.go()
    assert (await house.end(second)).run.state is RunState.FINISHED
