"""Stages that are left out."""

from __future__ import annotations

from typing import Any

import pytest

from flowdapt.errors import InvalidResource
from flowdapt.runs import RunState

from .conftest import House, stage

pytestmark = pytest.mark.anyio


async def test_a_stage_whose_condition_does_not_hold_is_skipped_and_gives_nothing(
    house: House,
) -> None:
    await house.apply(
        stage("start"),
        stage("full", "start", target="last", when="input.mode == 'full'"),
        stage("last", "full", "start"),
    )

    assert (await house.result(mode="quick"))[0] is None
    assert (await house.records())["full"].state is RunState.SKIPPED
    assert house.done == ["start", "last"]

    assert (await house.result(mode="full"))[0] is not None
    assert (await house.records())["full"].state is RunState.FINISHED


async def test_a_condition_may_speak_of_earlier_results(house: House) -> None:
    await house.apply(
        stage("numbers"),
        stage(
            "total",
            "numbers",
            when="len(results.numbers) > input.least and 2 in results['numbers']",
        ),
        stage("last", "total"),
    )

    assert await house.result(least=2) == [6]
    assert await house.result(least=3) == [None]


async def test_what_maps_over_a_skipped_stage_has_no_elements(house: House) -> None:
    await house.apply(
        stage("numbers", when="input.wanted"),
        stage("double", "numbers", mapped=True),
        stage("total", "double"),
    )

    assert await house.result(wanted=False) == 0
    assert await house.result(wanted=True) == 12


async def test_a_parameterized_stage_may_be_skipped_too(house: House) -> None:
    await house.apply(
        stage("numbers"),
        stage("double", "numbers", mapped=True, when="results.numbers[0] == 2"),
        stage("again", "double", target="double", mapped=True),
        stage("total", "again"),
    )

    assert await house.result() == 0
    assert house.done == ["numbers", "total"]


async def test_the_result_of_a_run_whose_last_stage_is_skipped_is_nothing(house: House) -> None:
    await house.apply(stage("start"), stage("last", "start", when="false"))

    assert await house.result() is None
    assert (await house.records())["last"].state is RunState.SKIPPED


async def test_a_condition_that_cannot_be_told_fails_its_stage(house: House) -> None:
    await house.apply(stage("start"), stage("last", "start", when="input.absent.more > 1"))

    said = await house.failure()

    assert said.startswith("ConditionFailed: the condition 'input.absent.more > 1' cannot be told:")
    assert house.done == ["start"]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("", "must be an expression such as"),
        (3, "must be an expression such as"),
        ("input.x >", "is no expression"),
        ("inptu.x", "speaks of 'inptu'; there are input, config, namespace, results"),
        ("results.other", "speaks of the result of 'other', which is none of the stages that"),
        ("results['other'] > 1", "'last' depends on: start"),
    ],
)
async def test_conditions_that_mean_nothing_are_refused(house: House, when: Any, said: str) -> None:
    with pytest.raises(InvalidResource, match=r"spec\.stages\.1\.options\.when") as refused:
        await house.apply(stage("start"), stage("last", "start", when=when))

    assert said in str(refused.value)


async def test_finding_out_whether_is_no_attempt_of_the_stage(house: House) -> None:
    await house.apply(
        stage("numbers"),
        stage("total", "numbers", when="results.numbers", cache="1h"),
        stage("last", "total", when="results.total == 0"),
    )

    await house.result()

    records = await house.records()
    assert [one["attempt"] for one in records["total"].history] == [1]
    assert records["total"].history[0]["worker"] == records["total"].worker
    assert (records["last"].state, records["last"].history) == (RunState.SKIPPED, ())
