"""Results that are used again."""

from __future__ import annotations

from typing import Any

import pytest

from flowdapt.errors import InvalidResource
from flowdapt.resources import Config

from .conftest import House, stage

pytestmark = pytest.mark.anyio


async def test_a_result_is_used_again_also_by_another_server(house: House) -> None:
    await house.apply(stage("start", cache="1h"), stage("last", "start"))
    first = await house.result(n=1)

    assert await house.result(n=1) == first
    await house.serve()
    assert await house.result(n=1) == first
    assert house.done == ["start", "last", "last", "last"]
    assert (await house.records())["start"].worker == "cache"


async def test_other_arguments_another_namespace_config_or_code_are_something_else(
    house: House,
) -> None:
    await house.apply(stage("start", cache=60))
    await house.result(n=1)
    await house.result(n=2)
    assert house.done == ["start"] * 2
    run = await house.engine.submit("farm", {"folder": str(house.app_dir), "n": 1}, namespace="b")
    await house.end(run)
    assert house.done == ["start"] * 3
    data = {"selector": {"type": "name", "value": "farm"}, "data": {"key": 1}}
    await house.engine.create(Config, {"kind": "config", "metadata": {"name": "c"}, "spec": data})
    await house.result(n=1)
    assert house.done == ["start"] * 4
    house.module.write_text(house.module.read_text() + "\nchanged = True\n")
    await house.result(n=1)
    assert house.done == ["start"] * 5


async def test_earlier_results_are_compared_by_what_they_are(house: House) -> None:
    await house.apply(stage("start"), stage("last", "start", cache=60))

    await house.result(n=1)
    await house.result(n=1)
    await house.result(n=2)

    assert house.done == ["start", "last", "start", "start", "last"]


async def test_a_result_is_used_no_more_once_its_time_is_up(house: House) -> None:
    await house.apply(stage("start", cache=0.05))
    await house.result()
    await house.engine.storage.delete_blobs("absent")  # and whatever had its time, by then

    async def computed_again() -> bool:
        await house.result()
        return house.done.count("start") > 1

    while not await computed_again():
        pass


async def test_a_parameterized_stage_is_computed_from_its_cache_too(house: House) -> None:
    await house.apply(
        stage("numbers"),
        stage("double", "numbers", mapped=True, cache=60),
        stage("again", "double", target="double", mapped=True),
        stage("total", "again"),
    )

    assert await house.result() == await house.result() == 24
    assert house.done.count("double 1") == 1
    assert house.done.count("double 4") == 2


async def test_a_failure_is_not_kept(house: House) -> None:
    await house.apply(stage("fail", cache=60))

    await house.failure()
    await house.failure()

    assert house.done == ["fail", "fail"]


@pytest.mark.parametrize("cache", [0, -1, "soon", None, True])
async def test_a_time_that_is_none_is_refused(house: House, cache: Any) -> None:
    with pytest.raises(InvalidResource, match=r"spec\.stages\.0\.options\.cache"):
        await house.apply(stage("start", cache=cache))
