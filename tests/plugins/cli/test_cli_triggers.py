"""Commands over triggers, and runs for many periods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from flowdapt_cli.backfills import periods

from flowdapt.client import Client
from flowdapt.plugins import Plugins
from tests.plugins.client import serving

from .conftest import Call, Done

TRIGGER = {
    "kind": "trigger_rule",
    "metadata": {"name": "yearly"},
    "spec": {
        "type": "schedule",
        "rule": ["0 0 1 1 *"],
        "action": {"target": "run_workflow", "parameters": {"workflow": "echo"}},
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, plugins: Plugins) -> Iterator[serving.Served]:
    folder = tmp_path_factory.mktemp("triggers")
    with serving.Served(folder, plugins).running() as served:
        with Client(served.address) as client:
            client.workflows.create(serving.workflow("echo", "echo"))
        yield served


@pytest.fixture
def call(flowdapt: Call, server: serving.Served) -> Call:
    def call(*arguments: object) -> Done:
        return flowdapt("--server", server.address, *arguments)

    return call


@pytest.fixture
def file(tmp_path: Path, call: Call) -> Path:
    """A file with a trigger, which is applied."""
    file = tmp_path / "trigger.yaml"
    file.write_text(yaml.safe_dump(TRIGGER))
    assert call("apply", file).status == 0
    return file


def test_triggers_are_listed_with_what_they_did(call: Call, file: Path) -> None:
    del file
    fired = call("triggers", "fire", "yearly")

    listed, shown, known = (
        call("get", "triggers"),
        call("triggers", "show", "yearly"),
        call("triggers", "list", "-o", "json").json(),
    )

    assert fired.out.startswith("trigger yearly fired: run ")
    head, row = listed.out.splitlines()
    assert head.split()[:4] == ["name", "type", "action", "last"]
    assert row.split()[:3] == ["yearly", "schedule", "run_workflow"]
    assert fired.out.split()[-1] in shown.out
    assert known[0]["name"] == "yearly"


def test_a_trigger_is_paused(call: Call, file: Path) -> None:
    del file
    assert call("triggers", "pause", "yearly").out == "trigger yearly paused\n"
    assert "paused" in call("get", "triggers").out
    assert call("triggers", "resume", "yearly").out == "trigger yearly resumed\n"
    assert call("triggers", "resume", "none").status == 1


def test_a_rule_is_tried(call: Call, file: Path, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"type": "grown", "data": {}}))
    rule = tmp_path / "rule.yaml"
    spec = {**TRIGGER["spec"], "type": "condition", "rule": {"eq": [{"var": "type"}, "grown"]}}  # type: ignore[dict-item]
    rule.write_text(yaml.safe_dump({**TRIGGER, "spec": spec}))

    assert "grown" in call("triggers", "test", rule, "--event", event).out
    assert "it would not have fired" in call("triggers", "test", "yearly", "--since", "1m").err
    assert "is no event" not in call("triggers", "test", file, "--since", "1m").err
    assert "holds no event" in call("triggers", "test", rule, "--event", rule).err


def test_what_does_not_fire_does_not_say_that_it_did(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "trigger.yaml"
    action = {"target": "run_workflow", "parameters": {"workflow": "absent"}}
    spec = {"type": "once", "rule": "2090-01-01", "action": action}
    file.write_text(yaml.safe_dump({**TRIGGER, "metadata": {"name": "idle"}, "spec": spec}))
    assert call("apply", file).status == 0

    done = call("triggers", "fire", "idle")

    assert (done.status, done.out) == (2, "")
    assert "no workflow named 'absent'" in done.err


def test_a_rule_that_hears_no_events_is_not_said_to_have_met_none(
    call: Call, tmp_path: Path
) -> None:
    rule = tmp_path / "rule.yaml"
    spec = {**TRIGGER["spec"], "type": "webhook", "rule": {"open": True}}  # type: ignore[dict-item]
    rule.write_text(yaml.safe_dump({**TRIGGER, "spec": spec}))

    done = call("triggers", "test", rule)

    assert done.status == 2
    assert "'webhook' hears no events" in done.err


@pytest.mark.parametrize("event", [{"type": "grown", "time": "soon"}, {"type": ["grown"]}])
def test_an_event_that_is_none_is_refused(call: Call, tmp_path: Path, event: object) -> None:
    file, rule = tmp_path / "event.json", tmp_path / "rule.yaml"
    file.write_text(json.dumps(event))
    spec = {**TRIGGER["spec"], "type": "condition", "rule": {"eq": [{"var": "type"}, "grown"]}}  # type: ignore[dict-item]
    rule.write_text(yaml.safe_dump({**TRIGGER, "spec": spec}))

    done = call("triggers", "test", rule, "--event", file)

    assert done.status == 2
    assert "request body: event." in done.err


def test_very_many_times_are_not_all_shown(call: Call, tmp_path: Path) -> None:
    rule = tmp_path / "rule.yaml"
    spec = {**TRIGGER["spec"], "type": "interval", "rule": "1s"}  # type: ignore[dict-item]
    rule.write_text(yaml.safe_dump({**TRIGGER, "spec": spec}))

    done = call("triggers", "test", rule, "--since", "2h")

    assert "there were more times; these are the last 1,000" in done.err


def test_a_time_ago_is_rounded_down_to_whole_periods() -> None:
    once, again = (periods("3h", "1h", "1h") for _ in range(2))
    days, weeks = periods("3d", "1d", "1d"), periods("21d", "7d", "1w")

    assert once == again or once[1:] == again[:-1]  # where an hour ended between the two
    assert len(once) == len(days) == len(weeks) == 2
    assert {start.minute for start, _ in once} == {0}
    assert {start.hour for start, _ in days} == {0}
    assert {start.weekday() for start, _ in weeks} == {0}


def test_the_last_period_may_end_where_the_calendar_does() -> None:
    found = periods("9999-12-30T00:00+00:00", "9999-12-31T00:00+00:00", "5d")

    assert len(found) == 1
    assert len(periods("2031-01-01T00:00+00:00", "2031-01-01T03:00+00:00", "1h30m")) == 2


def test_a_period_that_failed_before_is_told_as_failed(call: Call, server: serving.Served) -> None:
    with Client(server.address) as client:
        client.workflows.create(serving.workflow("breaks", "weigh"))
    period = ("--from", "2031-01-01T00:00+00:00", "--to", "2031-01-01T01:00+00:00", "--every", "1h")

    first, again = (call("backfill", "breaks", *period) for _ in range(2))

    assert (first.status, again.status) == (1, 1)
    assert "1 period: 1 failed" in first.err
    assert "1 period: 1 failed" in again.err


def test_a_time_is_filled_with_runs_and_only_once(call: Call) -> None:
    period = ("--from", "2031-01-01T00:00+00:00", "--to", "2031-01-01T05:30+00:00", "--every", "2h")

    first, again = (call("backfill", "echo", *period, "-o", "json") for _ in range(2))

    assert (first.status, again.status) == (0, 0)
    assert [one["end"][11:16] for one in first.json()] == ["02:00", "04:00", "05:30"]
    assert [one["state"] for one in first.json()] == ["finished"] * 3
    assert [one["run"] for one in first.json()] == [one["run"] for one in again.json()]
    assert "3 periods: 3 finished" in first.err
    assert "3 periods: 3 were there" in again.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "2031-01-02", "--to", "2031-01-01", "--every", "1h"), "is not after"),
        (
            ("--from", "2031-01-01", "--to", "2031-01-02", "--every", "soon"),
            "no length of a period",
        ),
        (("--from", "2031-01-01", "--to", "2091-01-02", "--every", "1s"), "more than 100,000"),
        (("--from", "then", "--to", "2031-01-02", "--every", "1h"), "'then' is no time"),
        (("--from", "0001-01-01", "--to", "2031-01-02", "--every", "1h"), "0001-01-01"),
        (
            ("--from", "2031-01-01", "--to", "2031-01-02", "--every", "99999999999999999d"),
            "no length of a period",
        ),
        (("--from", "2031-01-01", "--to", "2031-01-02", "--every", "1h5"), "no length of a period"),
    ],
)
def test_periods_that_are_none_are_refused(
    call: Call, arguments: tuple[str, ...], said: str
) -> None:
    done = call("backfill", "echo", *arguments)

    assert done.status == 2
    assert said in done.err
