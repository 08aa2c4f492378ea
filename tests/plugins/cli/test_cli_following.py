"""Commands that go on: logs, events and runs that are followed."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Call
from .processes import Process, Served, free_port, serving

Start = Callable[..., Process]


def begun(ask: Call, *arguments: object) -> str:
    """Start a run, and return its name."""
    return ask("run", *arguments, "--no-wait").out.strip()


def test_a_log_is_followed_until_the_run_has_ended(
    ask: Call, served: Served, start: Start, tmp_path: Path
) -> None:
    name = begun(ask, "patient", "--file", tmp_path / "gate")
    follower = start("--server", served.address, "logs", name, "-f")
    assert follower.line("waiting") == "wait | waiting"

    (tmp_path / "gate").touch()

    assert follower.status() == 0
    assert ask("logs", name, "-f", "-o", "json").json()["message"] == "waiting"


def test_what_stages_wrote_does_not_command_the_terminal(
    ask: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = ask("run", "fruit", "--n", "\x1b]0;mine\x07", "-o", "json").json()["name"]
    ways = [("logs", failed), ("inspect", "run", failed), ("events", "--run", failed)]

    with monkeypatch.context() as patch:
        for stream in (sys.stdout, sys.stderr):
            patch.setattr(stream, "isatty", lambda: True)
        seen = [ask(*way) for way in ways]
    script = ask("logs", failed, "-o", "json").json()

    assert not [done for done in seen if "\x1b]" in done.out + done.err]
    assert "picking �]0;mine�" in seen[0].out
    assert script[0]["message"] == "picking \x1b]0;mine\x07"


def test_events_are_followed_until_ctrl_c(ask: Call, served: Served, start: Start) -> None:
    follower = start("--server", served.address, "events", "-f", "--after", "0")
    name = begun(ask, "fruit")

    follower.line(f"workflow_started   run {name} of fruit")
    follower.line(f"stage_changed      run {name} of fruit: basket finished in ")
    follower.line(f"workflow_finished  run {name} of fruit finished")
    follower.signal(signal.SIGINT)

    assert follower.status() == 130


def test_events_are_chosen_by_workflow_run_and_type(ask: Call) -> None:
    name = ask("run", "rotten", "-o", "json").json()["name"]

    of_run = ask("events", "--run", name, "--type", "workflow_finished")
    last = ask("events", "--workflow", "rotten", "--limit", "1", "-o", "json").json()
    wrong = ask("events", "--type", "workflow_finishd")

    assert of_run.out.endswith(
        f"workflow_finished  run {name} of rotten failed: RuntimeError: it is rotten\n"
    )
    assert [event["data"]["name"] for event in last] == [name]
    assert wrong.status == 2
    assert "(did you mean 'workflow_finished' or " in wrong.err


def test_a_failed_run_is_retried_and_followed(ask: Call) -> None:
    first = ask("run", "rotten", "-o", "json").json()

    again = ask("retry", first["name"], "-o", "json")
    not_possible = ask("retry", first["name"], "--failed-items")

    assert again.status == 1
    assert again.json()["retry_of"] == first["uid"]
    assert not_possible.status == 1
    assert "retry the whole run" in not_possible.err


def test_only_the_elements_that_failed_are_computed_again(ask: Call, tmp_path: Path) -> None:
    sort: dict[str, Any] = {"name": "sort", "target": "user_modules.fruit.rot"}
    sort |= {"type": "parameterized", "options": {"map_on": "fruits"}}
    spotty = {"kind": "workflow", "metadata": {"name": "spotty"}, "spec": {"stages": [sort]}}
    ask("apply", "-", stdin=json.dumps(spotty))
    name = ask("run", "spotty", "--fruits", "[1, 2, 3]", "-o", "json").json()["name"]

    again = ask("retry", name, "--failed-items", "-o", "json").json()

    assert (again["workflow"], again["result"]) == ("spotty", [])


def test_runs_are_chosen_by_state_and_time(ask: Call) -> None:
    ask("run", "fruit")
    failed = ask("run", "rotten", "-o", "json").json()["name"]

    found = ask("get", "runs", "--state", "failed,cancelled", "--since", "1h", "-o", "json").json()

    assert found[0]["name"] == failed
    assert {run["state"] for run in found} <= {"failed", "cancelled"}
    assert ask("get", "runs", "--since", "0s").err == "no runs\n"
    assert ask("get", "runs", "--since", "soon").status == 2
    assert ask("get", "runs", "--state", "lost").status == 2


def test_a_server_that_is_killed_is_followed_on_when_it_is_back(
    flowdapt: Call, start: Start, tmp_path: Path
) -> None:
    port, folder, gate = free_port(), tmp_path / "served", tmp_path / "gate"
    at, server = ("-o", f"rpc.api.port={port}"), ("--server", f"127.0.0.1:{port}")
    with serving(folder, *at) as served:
        flowdapt(*server, "apply", served.resources)
        events = start(*server, "events", "-f", "--after", "0", "-o", "json")
        run = start(*server, "run", "patient", "--file", gate)
        name = run.line("run ").split()[1]
        logs = start(*server, "logs", name, "-f")
        logs.line("waiting")
        events.line("workflow_started")
        # The context ends with a SIGKILL.
    with serving(folder, *at):
        gate.touch()
        assert run.status() == 0
        assert logs.status() == 0
        kept = flowdapt(*server, "events", "--limit", "0", "-o", "json").json()
        events.line(f'"position": {kept[-1]["position"]},')
        written = flowdapt(*server, "logs", name).out

    told = [json.loads(line).get("position") for line in events.seen]
    assert [one for one in told if one] == [event["position"] for event in kept]
    assert [line for line in logs.seen if "waiting" in line] == written.splitlines()
    assert "done" in run.text
    assert [one for one in told if one] == [*range(1, len(kept) + 1)]


def test_items_are_printed_as_they_come(
    ask: Call, served: Served, start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    running = start("--server", served.address, "run", "drip", "--stream", "--file", gate)
    assert running.line("drop") == '{"drop": 1}'

    gate.touch()

    assert running.line("drop") == '{"drop": 2}'
    assert running.status() == 0


def test_a_run_that_fails_does_so_behind_its_items(ask: Call, tmp_path: Path) -> None:
    (gate := tmp_path / "gate").touch()

    done = ask("run", "drip", "--stream", "--file", gate, "--rotten", "true")

    assert (done.status, done.out) == (1, '{"drop": 1}\n')
    assert "failed: RuntimeError: it is rotten" in done.err


def test_ctrl_c_leaves_a_run_alone_whose_items_are_printed(
    ask: Call, served: Served, start: Start, tmp_path: Path
) -> None:
    never = tmp_path / "never"
    running = start("--server", served.address, "run", "drip", "--stream", "--file", never)
    uid = running.line("run ").split()[1]
    running.line("drop")

    running.signal(signal.SIGINT)

    assert running.status() == 130
    assert f"stop it:  flowdapt cancel {uid}" in running.text
    assert ask("get", "run", uid, "-o", "json").json()["state"] == "running"
    ask("cancel", uid)
