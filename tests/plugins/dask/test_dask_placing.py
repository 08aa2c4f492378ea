"""Which worker an order goes to, and what Dask is told that it takes."""

from __future__ import annotations

import asyncio

import pytest
from flowdapt_dask.amounts import declared, restrictions, supplied
from flowdapt_dask.devices import Devices
from flowdapt_dask.placing import Place, chosen

pytestmark = pytest.mark.anyio


def places(**cpus: float) -> dict[str, Place]:
    return {name: Place(name, name, {"cpus": amount}) for name, amount in cpus.items()}


def test_an_order_goes_to_what_it_takes_as_long_as_there_is_room() -> None:
    here = places(a=2, b=4)
    held = {"a": 1_000_000}

    first = chosen(here, {"cpus": 2.0}, held)
    here["a"].take({"cpus": 2.0})
    second = chosen(here, {"cpus": 2.0}, held)

    assert (first, second) == (here["a"], here["b"])


def test_an_order_that_takes_nothing_large_goes_where_most_is_free() -> None:
    here = places(a=2, b=4)

    assert chosen(here, {"cpus": 1.0}, {}) is here["b"]


def test_nobody_is_chosen_who_is_full_or_takes_nothing_more() -> None:
    here = places(a=2, b=4)
    here["b"].running = False

    assert chosen(here, {"cpus": 4.0}, {}) is None


def test_fractions_come_out_even() -> None:
    place = Place("a", "a", {"cpus": 1.0})
    for amount in (0.1, 0.2, 0.7):
        place.take({"cpus": amount})
    for amount in (0.7, 0.1, 0.2):
        place.take({"cpus": amount}, -1)

    assert place.has_room({"cpus": 1.0})
    assert place.node.free == {"cpus": 1.0}


def test_dask_counts_in_whole_thousandths() -> None:
    assert restrictions("1.0", {"cpus": 0.1, "gpus": 0.5, "x": 0.0}) == {
        "flowdapt-version-1.0": 0,
        "flowdapt-cpus": 100,
        "flowdapt-gpus": 500,
    }
    assert supplied("1.0", {"cpus": 2.0}) == {"flowdapt-version-1.0": 0, "flowdapt-cpus": 2000}


def test_what_hardly_computes_takes_no_processor() -> None:
    assert restrictions("1.0", {"cpus": 0.001}) == {"flowdapt-version-1.0": 0}


def test_what_whoever_started_a_worker_said_of_it_counts() -> None:
    assert declared({"GPU": 2, "disk": 1, "flowdapt-cpus": 9}, 4, 1e9) == {
        "cpus": 4.0,
        "gpus": 2.0,
        "memory": 1e9,
        "disk": 1.0,
    }


async def test_parts_of_devices_are_packed_and_whole_ones_are_waited_for() -> None:
    devices = Devices(["0", "1"])

    async with devices.taken(0.5) as first, devices.taken(0.5) as second:
        assert first == second
        async with devices.taken(0.5) as third:
            assert third != first
            whole = asyncio.create_task(devices.taken(1.0).__aenter__())
            await asyncio.sleep(0)
            assert not whole.done()
        assert await asyncio.wait_for(whole, 5) == third
