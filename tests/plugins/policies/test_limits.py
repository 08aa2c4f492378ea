"""What takes too long, what fails too often, and what stands in for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flowdapt_workers.tallies import unpacked

from flowdapt.errors import InvalidResource
from flowdapt.runs import RunState, Selection

from .conftest import House, stage

pytestmark = pytest.mark.anyio


async def test_a_run_that_takes_too_long_fails_and_its_work_is_stopped(house: House) -> None:
    await house.apply(stage("wait"), stage("last", "wait"), timeout=0.3)

    said = await house.failure()

    assert said.startswith("TimedOut: run '")
    assert said.endswith("took longer than its time limit of 0.3 seconds")
    await house.apply(stage("last"), name="after")
    for _ in range(4):  # one in each worker: none is held up
        await house.result("after")
    assert house.done == ["waiting", *["last"] * 4]


async def test_the_time_before_a_restart_counts(house: House) -> None:
    await house.apply(stage("wait"), timeout="1s")
    run = await house.begin()
    await house.until(lambda: house.done == ["waiting"])

    await house.serve()

    ended = await house.end(run)
    assert ended.run.failure is not None
    assert ended.run.failure.type == "TimedOut"
    assert ended.run.finished_at is not None
    assert (ended.run.finished_at - ended.run.started_at).total_seconds() < 20


async def test_a_stage_that_takes_too_long_fails_and_another_stands_in(house: House) -> None:
    await house.apply(
        stage("start"),
        stage("wait", "start", total_timeout=0.3, on_failure="farm_ruled.stand_in"),
        stage("last", "wait"),
    )

    ((kind, message, given),) = await house.result()

    assert (kind, given["folder"]) == ("TimedOut", str(house.app_dir))
    assert message == "stage 'wait' took longer than its time limit of 0.3 seconds"
    record = (await house.records())["wait"]
    assert (record.state, record.failures[0].type) == (RunState.FINISHED, "TimedOut")


async def test_what_fails_is_told_to_what_stands_in_for_it(house: House) -> None:
    await house.apply(
        stage("numbers"),
        stage("fail", "numbers", on_failure="farm_ruled.stand_in"),
        stage("double", "fail", target="last"),
    )

    assert await house.result() == [["RuntimeError", "no", [1, 2, 3]]]
    log = await house.engine.read_log((await _last(house)).uid)
    lines = b"".join(block.lines for block in log.values())
    assert b"stage 'fail' failed (RuntimeError: no); farm_ruled.stand_in stands in for it" in lines


async def test_what_stands_in_for_a_list_is_mapped_over(house: House) -> None:
    await house.apply(
        stage("fail", on_failure="farm_ruled.numbers"),
        stage("double", "fail", mapped=True),
        stage("total", "double"),
    )

    assert await house.result() == 12


async def test_where_the_stand_in_fails_too_the_stage_does(house: House) -> None:
    await house.apply(
        stage("start"), stage("last", "start", target="fail", on_failure="farm_ruled.fail")
    )

    assert await house.failure() == "RuntimeError: no"
    assert house.done == ["start", "fail", "fail"]


async def test_a_cancelled_stage_has_no_stand_in(house: House) -> None:
    await house.apply(stage("wait", on_failure="farm_ruled.stand_in"))
    run = await house.begin()
    await house.until(lambda: house.done == ["waiting"])

    ended = await house.engine.cancel(run.uid)

    assert ended.run.state is RunState.CANCELLED
    assert house.done == ["waiting"]


async def test_so_many_elements_have_to_succeed(house: House) -> None:
    await house.apply(
        stage("numbers"),
        stage("odd", "numbers", mapped=True, min_success=0.6),
        stage("total", "odd"),
    )
    assert await house.result() == 4

    await house.apply(
        stage("numbers"),
        stage("odd", "numbers", mapped=True, min_success=0.7),
        stage("total", "odd"),
    )
    assert await house.failure() == (
        "TooManyFailed: 1 of 3 elements of stage 'odd' failed, and its option 'min_success' is "
        "0.7; the first: ValueError: 2 is even"
    )
    record = (await house.records())["odd"]
    assert (record.items, record.items_done, record.items_failed) == (3, 3, 1)
    assert [failed.item for failed in record.failed_items] == [1]
    assert [one.item for one in unpacked(record.elements)] == [0, 1, 2]
    assert record.failures[0].traceback
    assert record.used["peak_memory_bytes"] > 0


async def test_of_a_list_whose_failed_elements_are_tried_again_the_others_count(
    house: House,
) -> None:
    await house.apply(stage("numbers"), stage("odd", "numbers", mapped=True, min_success=0.6))
    only = {"odd": Selection(of=3, items=(1,))}

    run = await house.engine.submit("farm", {"folder": str(house.app_dir)}, only=only)

    assert (await house.end(run)).run.state is RunState.FINISHED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"total_timeout": 0}, "must be a number of seconds above 0, or a text such as"),
        ({"total_timeout": "soon"}, "must be a number of seconds above 0"),
        ({"on_failure": "nothing"}, "must be the import path of a function"),
        ({"min_success": 95}, "must be between 0 and 1, such as 0.95"),
        ({"min_success": 0.5, "allow_partial_failure": False}, "means nothing where"),
    ],
)
async def test_options_of_stages_that_mean_nothing_are_refused(
    house: House, options: dict[str, Any], said: str
) -> None:
    (key, *_) = options
    with pytest.raises(InvalidResource, match=rf"spec\.stages\.0\.options\.{key}") as refused:
        await house.apply(stage("numbers", **options))

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": "-1s"}, "must be a number of seconds above 0"),
        ({"concurrency": "two"}, "must be one of allow, forbid, queue, replace"),
        ({"recovery": "maybe"}, "must be one of resume, restart, fail"),
    ],
)
async def test_options_of_workflows_that_mean_nothing_are_refused(
    house: House, options: dict[str, Any], said: str
) -> None:
    (key,) = options
    with pytest.raises(InvalidResource, match=rf"spec\.options\.{key}") as refused:
        await house.apply(stage("numbers"), **options)

    assert said in str(refused.value)


async def test_a_mistyped_target_is_refused_with_the_nearest_names(house: House) -> None:
    with pytest.raises(InvalidResource, match=r"spec\.stages\.0\.target.*did you mean 'numbers'"):
        await house.apply(stage("one", target="nubmers"))


async def test_targets_that_cannot_be_looked_up_are_taken_as_they_are(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("flowdapt_policies.targets.LOOKUP_SECONDS", 0.01)
    monkeypatch.setattr(house.engine.executor, "lookup", never)

    await house.apply(stage("one", target="nubmers"))

    assert "the targets of 'farm' were not looked up: TimeoutError()" in caplog.text


async def _last(house: House) -> Any:
    from flowdapt.storage import RunQuery

    return (await house.engine.list_runs(RunQuery(limit=1)))[0].run
