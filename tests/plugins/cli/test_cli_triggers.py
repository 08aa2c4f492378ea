"""Commands over triggers, and runs for many periods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

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
    ],
)
def test_periods_that_are_none_are_refused(
    call: Call, arguments: tuple[str, ...], said: str
) -> None:
    done = call("backfill", "echo", *arguments)

    assert done.status == 2
    assert said in done.err
