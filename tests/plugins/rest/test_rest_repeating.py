"""Runs that repeat others: whole, or for the elements that failed alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_rest.retries import NothingToRetry, RunNotEnded, retry, selections
from flowdapt_workers.inline import InlineExecutor
from flowdapt_workers.targets import built_in_types

from flowdapt.context import get_run_context
from flowdapt.engine import Engine
from flowdapt.errors import Draining, ResourceNotFound
from flowdapt.executors import Host
from flowdapt.resources import Config, Workflow
from flowdapt.runs import FailedItem, Run, RunState, Selection, StageRecord
from flowdapt.storage import RunQuery, StoredRun
from flowdapt.walks import Type

MAPPED = {"type": "parameterized"}


def a_workflow(*stages: dict[str, Any], name: str = "farm") -> dict[str, Any]:
    """Return a workflow of these stages."""
    return {"kind": "workflow", "metadata": {"name": name}, "spec": {"stages": list(stages)}}


def stage(name: str, *depends_on: str, target: str = "keep", **facts: Any) -> dict[str, Any]:
    """Return a stage whose function is in this module."""
    return {
        "name": name,
        "target": f"{__name__}.{target}",
        "depends_on": depends_on,
        **facts,
    }


def over_input(name: str, target: str = "keep") -> dict[str, Any]:
    """Return a stage that maps over ``xs``."""
    return stage(name, target=target, options={"map_on": "xs"}, **MAPPED)


# Which elements are chosen


def went(name: str, items: int | None = None, failed: Iterable[int] = ()) -> StageRecord:
    """Return how a stage went: how many elements it had, and which of them failed."""
    kept = tuple(FailedItem(item, "E", "m") for item in failed)
    facts = {"items": items, "items_done": items or 0}
    return StageRecord(stage=name, **facts, items_failed=len(kept), failed_items=kept)


def chosen(
    stages: Iterable[dict[str, Any]], *records: StageRecord, **only: Selection
) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return of how many elements which are computed again, by stage."""
    workflow = Workflow.parse(a_workflow(*stages), where="test")
    run = Run(workflow="farm", name="amber-otter", only=only)
    mapped = [s.name for s in workflow.spec.stages if s.type == "parameterized"]
    found = selections(workflow, records, run, mapped=mapped)
    return {name: (selection.of, selection.items) for name, selection in found.items()}


CHAIN = (over_input("fetch"), stage("parse", "fetch", **MAPPED), stage("store", "parse", **MAPPED))


def test_elements_that_failed_are_chosen_of_as_many_as_there_were() -> None:
    stages = stage("list"), stage("each", "list", **MAPPED)

    assert chosen(stages, went("list"), went("each", 9, failed=[7, 2])) == {"each": (9, (2, 7))}


def test_what_failed_behind_other_mapped_stages_is_asked_of_the_first_of_them() -> None:
    records = went("fetch", 9), went("parse", 9, failed=[4]), went("store", 8, failed=[8, 0])

    assert chosen(CHAIN, *records) == {"fetch": (9, (0, 4, 8))}


def test_what_failed_on_the_way_counts_with_what_failed_above() -> None:
    records = went("fetch", 9, failed=[1, 2]), went("parse", 7, failed=[5]), went("store", 6)

    assert chosen(CHAIN, *records) == {"fetch": (9, (1, 2, 5))}


def test_lists_of_their_own_are_chosen_of_by_themselves() -> None:
    stages = (
        over_input("a"),
        over_input("b"),
        stage("whole", "b"),
        stage("c", "whole", **MAPPED),
        stage("d", "c", options={"map_on": "xs"}, **MAPPED),
    )
    records = went("a", 3, [0]), went("b", 3), went("whole"), went("c", 5, [4]), went("d", 3, [1])

    assert chosen(stages, *records) == {"a": (3, (0,)), "c": (5, (4,)), "d": (3, (1,))}


def test_of_a_run_that_was_a_retry_the_length_of_the_first_list_counts() -> None:
    only = Selection(of=9, items=(3, 4, 8))
    records = went("fetch", 3, failed=[8]), went("parse", 2, failed=[3]), went("store", 1)

    assert chosen(CHAIN, *records, fetch=only) == {"fetch": (9, (3, 8))}


def test_where_no_element_failed_there_is_nothing_to_retry() -> None:
    with pytest.raises(NothingToRetry) as caught:
        chosen(CHAIN, went("fetch", 2), went("parse", 2))

    assert str(caught.value) == "no element of run 'amber-otter' failed: retry the whole run"


@pytest.mark.parametrize("stages", [(stage("other"),), (stage("each"),)], ids=["gone", "simple"])
def test_a_stage_that_does_not_map_any_more_is_named(stages: tuple[dict[str, Any]]) -> None:
    with pytest.raises(NothingToRetry) as caught:
        chosen(stages, went("each", 2, failed=[1]))

    assert str(caught.value) == (
        "elements of stage 'each' failed, and workflow 'farm' has no "
        "such parameterized stage any more: retry the whole run"
    )


@pytest.mark.parametrize("records", [(), (went("list"),)], ids=["new", "simple before"])
def test_a_stage_that_maps_over_another_one_by_now_is_named(
    records: tuple[StageRecord, ...],
) -> None:
    stages = over_input("list"), stage("each", "list", **MAPPED)

    with pytest.raises(NothingToRetry) as caught:
        chosen(stages, *records, went("each", 2, failed=[1]))

    assert str(caught.value) == (
        "stage 'each' maps over stage 'list' now, of which run 'amber-otter' computed no elements: "
        "retry the whole run"
    )


# Runs


def keep(x: Any) -> Any:
    """Return the same."""
    return x


def placed(x: int) -> list[Any]:
    """Return an element with its index."""
    return [x, get_run_context().item]


def broken(x: int) -> int:
    """Fail for what the config says."""
    if x in get_run_context().config["broken"]:
        raise LookupError(f"no {x}")
    return x


def setting() -> Any:
    """Return what the configs of the run say."""
    return get_run_context().config


async def wait(reached: asyncio.Event) -> None:
    """Say that the stage runs, and wait for ever."""
    reached.set()
    await asyncio.Event().wait()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine with a workflow ``farm``, in which some elements of ``xs`` are broken."""
    parts = MemoryStorage(), InlineExecutor(), Host(app_dir=tmp_path)
    engine = Engine(*parts, types=built_in_types())
    await engine.start()
    stages = over_input("fetch", "broken"), stage("store", "fetch", target="placed", **MAPPED)
    await engine.create(Workflow, a_workflow(*stages))
    await breaking(engine, 1, 3)
    yield engine
    await engine.stop()


async def breaking(engine: Engine, *broken: int) -> None:
    """Have these elements fail from now on."""
    spec = {"data": {"broken": broken}, "selector": {"type": "name", "value": "farm"}}
    await engine.apply({"kind": "config", "metadata": {"name": "faults"}, "spec": spec})


async def ended(engine: Engine, run: Run) -> tuple[StoredRun, Any]:
    """Wait for the end of a run, and return it with its result."""
    stored = await engine.wait(run.uid)
    return stored, json.loads(stored.result or b"")


pytestmark = pytest.mark.anyio


async def test_a_run_is_repeated_with_what_it_was_given(engine: Engine) -> None:
    first = await engine.submit("farm", {"xs": [1, 2]}, namespace="mine", source="trigger")
    _, before = await ended(engine, first)

    again = await retry(engine, first.name)

    assert again.uid != first.uid
    assert (again.retry_of, again.input, again.namespace) == (first.uid, {"xs": [1, 2]}, "mine")
    assert (again.workflow, again.source, again.only) == ("farm", "api", {})
    assert await ended(engine, again) == (await engine.get_run(again.uid), before)
    assert (await engine.find_run(first.uid)).retry_of is None


async def test_workflow_and_configs_are_taken_as_they_are_now(engine: Engine) -> None:
    first = await engine.submit("farm", {"xs": [1, 2]})
    await ended(engine, first)
    await breaking(engine, 2)
    await engine.replace(Workflow, "farm", a_workflow(over_input("only", "broken"), name="barn"))
    await engine.replace(
        Config,
        "faults",
        {
            "metadata": {"name": "faults"},
            "spec": {"data": {"broken": [2]}, "selector": {"type": "name", "value": "barn"}},
        },
    )

    again = await retry(engine, first.uid)

    assert (again.workflow, again.config) == ("barn", {"broken": [2]})
    assert (await ended(engine, again))[1] == [1]


async def test_of_failed_elements_only_these_are_computed_again_in_their_place(
    engine: Engine,
) -> None:
    first = await engine.submit("farm", {"xs": [0, 1, 2, 3, 4]})
    _, before = await ended(engine, first)
    await breaking(engine, 3)

    again = await retry(engine, first.uid, failed_items=True)

    assert before == [[0, 0], [2, 2], [4, 4]]
    assert again.only == {"fetch": Selection(of=5, items=(1, 3))}
    assert (await ended(engine, again))[1] == [[1, 1]]
    fetch, store = await engine.stages(again.uid)
    assert (fetch.items, fetch.items_failed, store.items) == (2, 1, 1)


async def test_a_retry_can_be_retried_until_nothing_is_left(engine: Engine) -> None:
    first = await engine.submit("farm", {"xs": [0, 1, 2, 3, 4]})
    await ended(engine, first)
    await breaking(engine, 3)
    second = await retry(engine, first.uid, failed_items=True)
    await ended(engine, second)
    await breaking(engine)

    third = await retry(engine, second.uid, failed_items=True)

    assert (third.retry_of, third.only) == (second.uid, {"fetch": Selection(of=5, items=(3,))})
    assert (await ended(engine, third))[1] == [[3, 3]]
    with pytest.raises(NothingToRetry, match=f"no element of run '{third.name}' failed"):
        await retry(engine, third.uid, failed_items=True)
    whole = await retry(engine, third.uid)
    assert len((await ended(engine, whole))[1]) == 5


async def test_a_list_of_another_length_fails_the_retry_and_says_why(engine: Engine) -> None:
    first = await engine.submit("farm", {"xs": [0, 1, 2]})
    await ended(engine, first)
    over = stage("fetch", "list", target="broken", **MAPPED)
    await engine.replace(Workflow, "farm", a_workflow(stage("list", target="setting"), over))

    again = await retry(engine, first.uid, failed_items=True)

    (kind, message) = (await ended(engine, again))[1]
    assert kind == "ValueError"
    assert message.startswith("stage 'fetch' maps over 1 elements now, and over 3 when some failed")


async def test_a_run_in_progress_is_not_retried(engine: Engine) -> None:
    reached = asyncio.Event()
    await engine.create(Workflow, a_workflow(stage("only", target="wait"), name="slow"))
    run = await engine.submit("slow", {"reached": reached})
    await asyncio.wait_for(reached.wait(), 5)

    with pytest.raises(RunNotEnded, match=f"run '{run.name}' is in progress; wait for its end"):
        await retry(engine, run.uid)

    assert len(await engine.list_runs(RunQuery())) == 1
    assert (await engine.cancel(run.uid)).run.state is RunState.CANCELLED


async def test_a_run_of_which_nothing_is_left_to_go_by_is_not_retried(engine: Engine) -> None:
    run = await engine.submit("farm", {"xs": []})
    await ended(engine, run)
    await engine.delete(Workflow, "farm")
    await engine.create(Workflow, a_workflow(stage("other")))

    with pytest.raises(ResourceNotFound, match=f"no workflow named '{run.workflow_uid}'"):
        await retry(engine, run.uid)
    with pytest.raises(ResourceNotFound, match="no workflow_run named 'absent'"):
        await retry(engine, "absent")


async def test_a_stage_type_that_went_away_has_no_elements_to_retry(engine: Engine) -> None:
    engine.types = {
        **engine.types,
        "odd": Type("flowdapt_workers.targets:Parameterized", mapped=True),
    }
    odd = {**over_input("each", "broken"), "type": "odd"}
    await engine.replace(Workflow, "farm", a_workflow(odd))
    run = await engine.submit("farm", {"xs": [1]})
    await ended(engine, run)
    engine.types = built_in_types()

    with pytest.raises(NothingToRetry, match="elements of stage 'each' failed"):
        await retry(engine, run.uid, failed_items=True)


async def test_while_draining_nothing_is_retried(engine: Engine) -> None:
    run = await engine.submit("farm", {"xs": []})
    await ended(engine, run)
    engine.draining = True

    with pytest.raises(Draining):
        await retry(engine, run.uid)
