"""What people see of when the stages of a run waited and were computed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flowdapt_cli.reports import used, waited
from flowdapt_cli.timelines import timeline
from rich.console import Console

from .conftest import Call

CROSS = "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}"
RUN = {"started_at": "2031-01-01T00:00:00", "finished_at": "2031-01-01T00:00:10"}


def stage(name: str, ready: float, *begins: float, end: float, **facts: Any) -> dict[str, Any]:
    return {
        "stage": name,
        "state": "finished",
        "started_at": time(ready),
        "finished_at": time(end),
        "worker": "process 7 on mill",
        "history": [
            {"attempt": n, "at": time(begin), "worker": "process 7", "node": "mill"}
            for n, begin in enumerate(begins, 1)
        ],
        **facts,
    }


def time(seconds: float) -> str:
    return f"2031-01-01T00:00:{seconds:09.6f}"


def drawn(*stages: dict[str, Any], columns: int = 80) -> list[str]:
    console = Console(width=columns, color_system=None)
    with console.capture() as captured:
        console.print(timeline(RUN, stages, columns=columns))
    return [line.rstrip() for line in captured.get().splitlines()]


def bars(*stages: dict[str, Any]) -> list[str]:
    """Return the bars alone, of ten columns where a second is four."""
    _, *lines = drawn(*stages, columns=8 + 2 + 40 + 2 + 6 + 2 + 17)
    return [line[10:50].rstrip() for line in lines]


def test_a_stage_is_dotted_while_it_waits_and_whole_while_it_is_computed() -> None:
    (bar,) = bars(stage("features", 1, 2, end=5))

    assert bar == 4 * " " + 4 * "┄" + 12 * "━"


def test_each_attempt_that_was_lost_ends_in_a_cross() -> None:
    (bar,) = bars(stage("features", 0, 0, 2, 4, end=5))

    assert bar == 2 * (7 * "━" + CROSS) + 4 * "━"


def test_what_took_no_time_is_seen() -> None:
    first, last = bars(stage("features", 0, 0, end=0), stage("b", 10, 10, end=10))

    assert first == "━"
    assert last == 39 * " " + "━"


def test_a_stage_of_which_no_worker_was_told_is_whole() -> None:
    (bar,) = bars(stage("features", 0, end=5))

    assert bar == 20 * "━"


@pytest.mark.parametrize("state", ["running", "failed", "cancelled", "skipped"])
def test_a_stage_that_nobody_took_waited_to_its_end(state: str) -> None:
    (bar,) = bars(stage("features", 0, end=5, state=state, worker=None))

    assert {*bar} == {"┄"}


def test_stages_stand_in_the_order_in_which_they_were_ready() -> None:
    _, *lines = drawn(stage("b", 2, 2, end=3), stage("a", 0, 0, end=9), stage("c", 2, 2, end=4))

    assert [line.split()[0] for line in lines] == ["a", "b", "c"]


def test_names_that_are_cut_are_told_apart_by_their_ends() -> None:
    names = [f"forecast-of-the-city-number-{n}" for n in (100, 101)]

    _, *lines = drawn(*(stage(name, 0, 0, end=1) for name in names), columns=60)

    assert [line.split()[0] for line in lines] == ["forecast-…er-100", "forecast-…er-101"]


def test_the_axis_and_who_computed_stand_beside_the_bars() -> None:
    head, line = drawn(stage("features", 0, 0, end=5))

    assert head.split() == ["timeline", "0", "10.0", "s", "took", "on"]
    assert line.endswith(" 5.00 s  process 7 on mill")


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    name = "a-stage-with-a-name-that-goes-on-and-on"
    worker = "process 123456 on ip-10-0-12-34.eu-west-1.compute.internal"

    lines = drawn(stage(name, 0, 1, end=9, worker=worker), columns=columns)

    assert len(lines) == 2
    assert max(map(len, lines)) <= columns


def test_control_codes_in_a_name_are_not_obeyed() -> None:
    _, line = drawn(stage("a\x1b[2Jb", 0, 0, end=1))

    assert line.startswith("a�[2Jb")


def test_only_waiting_that_matters_is_told() -> None:
    assert waited(stage("a", 1, 1.5, end=2)) == "0.50 s"
    assert waited(stage("a", 1, 1.001, end=2)) == ""
    assert waited(stage("a", 1, end=2)) == ""


def test_what_a_run_used_is_one_line() -> None:
    amounts = {
        "cpu_seconds": 90.0,
        "gpu_seconds": 60.0,
        "peak_memory_bytes": 2.0**30,
        "argument_bytes": 2048.0,
        "result_bytes": 512.0,
        "energy_joules": 13080.0,
    }

    told = used(amounts)

    assert told == "cpu 1m 30s, gpu 1m 00s, memory 1.0 GiB, 2.0 KiB in, 512 B out, about 3.6 Wh"


def test_a_run_is_inspected_with_its_timeline(ask: Call) -> None:
    name = ask("run", "fruit", "-o", "json").json()["name"]

    people = ask("inspect", "run", name)
    scripts = ask("inspect", "run", name, "-o", "json").json()

    assert "\ntimeline  0" in people.out
    assert re.search(r"\npick +┄*━+ +\d\.\d\d s  process \d+ on ", people.out)
    assert "\nin all: cpu 0.0" in people.out
    assert scripts["used"]["peak_memory_bytes"] > 1_000_000
    assert scripts["stages"][0]["history"][0]["attempt"] == 1
    assert [one["stage"] for one in scripts["transitions"]][:2] == [None, "pick"]
    assert scripts["transitions"][-1]["state"] == "finished"
