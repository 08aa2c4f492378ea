"""Large results that outlive a server."""

from __future__ import annotations

import pytest

from flowdapt.errors import InvalidResource

from .conftest import House, stage

pytestmark = pytest.mark.anyio


def archives(house: House) -> list[str]:
    """Return the names of what is kept of runs among the artifacts."""
    return [path.name for path in house.app_dir.glob("artifacts/run-*/*")]


async def gone(house: House) -> None:
    """Wait until nothing is kept."""
    await house.until(lambda: not archives(house))


@pytest.mark.parametrize("durable", [True, False])
async def test_a_large_result_is_not_computed_again_if_it_is_to_be_durable(
    house: House, durable: bool
) -> None:
    await house.apply(
        stage("large"), stage("wait", "large"), stage("last", "large", "wait"), durable=durable
    )
    run = await house.begin()
    await house.until(lambda: "waiting" in house.done)
    assert bool(archives(house)) is durable

    await house.serve()
    house.go()

    ended = await house.end(run)
    assert ended.run.failure is None
    assert ended.result_bytes > 8 * 300_000
    assert house.done.count("large") == (1 if durable else 2)
    await gone(house)


async def test_elements_of_a_large_list_are_computed_once(house: House) -> None:
    await house.apply(
        stage("large"),
        stage("length", "large", mapped=True),
        stage("wait", "length"),
        stage("total", "length"),
        stage("last", "wait", "total"),
        durable=True,
    )
    run = await house.begin()
    await house.until(lambda: "waiting" in house.done and "total" in house.done)

    await house.serve()
    house.go()

    assert (await house.end(run)).result == b'["waited",2400000]'
    assert (house.done.count("large"), house.done.count("length")) == (1, 8)
    await gone(house)


async def test_nothing_is_kept_of_a_cancelled_run(house: House) -> None:
    await house.apply(stage("large"), stage("wait", "large"), durable=True)
    run = await house.begin()
    await house.until(lambda: "waiting" in house.done)

    await house.engine.cancel(run.uid)

    await gone(house)


async def test_it_is_true_or_false(house: House) -> None:
    with pytest.raises(InvalidResource, match=r"spec\.options\.durable.*must be true or false"):
        await house.apply(stage("large"), durable="yes")
