"""Runs whose items come one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowdapt.client import AsyncClient, Client, RunFailed, StageRestarted
from flowdapt.errors import ResourceNotFound
from flowdapt.runs import RunState

from .conftest import Begin
from .serving import SECONDS, Served


def test_items_come_while_the_run_goes_on(client: Client, gate: Path) -> None:
    with client.runs.stream("drip", {"gate": str(gate)}) as stream:
        first = next(stream)
        gate.touch()

        assert (first, list(stream)) == ("one", ["two"])


async def test_an_awaited_client_has_them_too(awaited: AsyncClient) -> None:
    assert [item async for item in awaited.runs.stream("pour", {"n": 500})] == [*range(500)]


def test_any_result_has_items(client: Client) -> None:
    assert list(client.runs.stream("echo", {"n": 3})) == [{"n": 3}]
    assert list(client.runs.stream("pour", {"n": 0})) == []


def test_a_failure_comes_behind_the_items_that_there_are(client: Client) -> None:
    stream = client.runs.stream("spill")

    assert next(stream) == 1
    with pytest.raises(RunFailed, match="failed: ValueError: spilt"):
        next(stream)


def test_the_same_key_has_the_same_items(client: Client) -> None:
    first, again = (list(client.runs.stream("pour", {"n": 3}, key="three")) for _ in range(2))

    assert first == again == [0, 1, 2]
    assert len(list(client.runs.list("pour", state="finished"))) >= 1


def test_a_missing_workflow_is_named_by_a_stream(client: Client) -> None:
    with pytest.raises(ResourceNotFound, match="no workflow named 'dirp'"):
        next(client.runs.stream("dirp"))


def test_a_stage_that_begins_anew_is_told_of(client: Client, gate: Path) -> None:
    items: list[object] = []

    for item in client.runs.stream("relapse", {"gate": str(gate)}, restarted=items.clear):
        items.append(item)

    assert items == [1, 2]


def test_a_stage_that_begins_anew_is_an_error_where_nobody_wants_to_be_told(
    client: Client, gate: Path
) -> None:
    with pytest.raises(StageRestarted, match="begins anew"):
        list(client.runs.stream("relapse", {"gate": str(gate)}))


def test_a_lost_connection_loses_no_item(served: Served, client: Client, gate: Path) -> None:
    with client.runs.stream("drip", {"gate": str(gate)}) as stream:
        first = next(stream)
        served.cut()
        gate.touch()

        assert (first, list(stream)) == ("one", ["two"])


def test_a_stream_with_a_key_goes_on_where_the_connection_was_lost(
    served: Served, client: Client, gate: Path, begin: Begin
) -> None:
    end = gate.with_name(gate.name + ".end")
    try:
        with client.runs.stream("trickle", {"gate": str(gate)}, key=str(gate)) as stream:
            first = next(stream)
            served.cut()
            gate.touch()

            second = begin(lambda: next(stream)).result(SECONDS)  # the run has not ended

            end.touch()
            assert (first, second, list(stream)) == ("one", "two", [])
    finally:
        end.touch()


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_items_of_two_attempts_are_never_mixed(
    served: Served, client: Client, gate: Path, n: int, key: str | None
) -> None:
    items: list[object] = []
    asked: dict[str, Any] = {"key": key and str(gate), "restarted": items.clear}
    with client.runs.stream("improvise", {"gate": str(gate), "n": n}, **asked) as stream:
        items += [next(stream), next(stream)]
        served.cut()
        gate.touch()

        for item in stream:
            items.append(item)

    assert items == [[2, i] for i in range(n)]


def test_items_of_two_attempts_are_an_error_where_nobody_wants_to_be_told(
    served: Served, client: Client, gate: Path
) -> None:
    with client.runs.stream("improvise", {"gate": str(gate), "n": 3}) as stream:
        items = [next(stream), next(stream)]
        served.cut()
        gate.touch()

        with pytest.raises(StageRestarted, match="begins anew"):
            items += stream

    assert items == [[1, 0], [1, 1]]


def test_who_closes_a_stream_may_have_the_run_cancelled(client: Client, gate: Path) -> None:
    with client.runs.stream("drip", {"gate": str(gate)}, cancel=True) as stream:
        next(stream)

    (run,) = client.runs.list("drip", limit=1)
    assert client.runs.wait(run).state is RunState.CANCELLED
