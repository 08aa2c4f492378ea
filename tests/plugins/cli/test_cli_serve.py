"""Servers in the foreground: how they start, refuse to start, and stop."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Call
from .processes import Process, Served, serving


def test_sigterm_stops_a_server_in_order(tmp_path: Path) -> None:
    with serving(tmp_path / "app", "-o", "executor=threads") as served:
        served.process.signal(signal.SIGTERM)

        assert served.process.status() == 0
        assert "Traceback" not in served.process.text


def test_run_without_a_workflow_is_a_server_too_which_ctrl_c_stops(
    start: Callable[..., Process],
) -> None:
    process = start("-o", "rpc.api.port=0", "run", "--no-migrations")
    process.line("serves at http://127.0.0.1:")

    process.signal(signal.SIGINT)

    assert process.status() == 0


def test_the_first_start_writes_a_settings_file(served: Served) -> None:
    assert "port: 8080" in (served.app_dir / "flowdapt.yaml").read_text()


def test_a_second_server_on_the_same_files_is_refused_and_told_of_the_first(
    served: Served, flowdapt: Call
) -> None:
    done = flowdapt("-d", served.app_dir, "-o", "rpc.api.port=0", "serve")

    assert done.status == 1
    assert "belongs to a running server (process " in done.err
    assert f"at {served.address}); stop it, or choose another directory with --app-dir" in done.err
    assert done.err.count("\n") == 1


def test_a_port_that_is_taken_is_named(flowdapt: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        done = flowdapt("-o", f"rpc.api.port={port}", "-o", "executor=threads", "serve")

    assert done.status == 1
    assert done.err.startswith(f"Error: cannot listen on 127.0.0.1:{port}: the port is taken")
    assert done.err.count("\n") == 1


def test_files_that_cannot_be_kept_are_a_failure(flowdapt: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = flowdapt("-d", tmp_path / "file" / "app", "serve")

    assert done.status == 1
    assert done.err.startswith(f"Error: application directory '{tmp_path}/file/app' cannot be made")


def test_a_service_that_nobody_offers_is_named_with_those_that_are_near(flowdapt: Call) -> None:
    done = flowdapt("-o", "executor=threads", "serve", "--services", "rst")

    assert done.status == 1
    assert done.err == "Error: no service named 'rst' (did you mean 'rest'?)\n"


def test_a_server_without_http_says_how_to_get_it_back(
    monkeypatch: pytest.MonkeyPatch, start: Callable[..., Process]
) -> None:
    monkeypatch.setenv("FLOWDAPT__PLUGINS__DISABLED", "flowdapt_rest")

    process = start("-o", "executor=threads", "serve")

    line = process.line("serves at no address")
    assert "it comes with the plugin flowdapt_rest, which is disabled" in line


def test_a_server_that_is_to_have_no_http_says_no_more_of_it(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    process = start("-o", "executor=threads", "-o", "services.rest=disabled", "serve")

    line = process.line("serves at no address")
    assert line.endswith(f"no address, with its files in {tmp_path / 'app'}")


def test_a_setting_without_meaning_is_told_of(flowdapt: Call) -> None:
    done = flowdapt("-o", "rpc.api.prt=1", "-o", "executor=lcal", "serve")

    assert done.err.count("setting rpc.api.prt (did you mean 'port'?)") == 1
    assert done.err.endswith("Error: no executor named 'lcal' (did you mean 'local'?)\n")


def test_what_was_acknowledged_is_there_after_the_server_was_killed(
    flowdapt: Call, tmp_path: Path
) -> None:
    never = tmp_path / "never"
    with serving(tmp_path / "app") as first:
        flowdapt("--server", first.address, "apply", first.resources)
        ended = flowdapt("--server", first.address, "run", "fruit", "-o", "json").json()
        cut_off = flowdapt(
            "--server", first.address, "run", "patient", "--file", never, "--no-wait", "-o", "json"
        ).json()
        first.process.kill()

    with serving(tmp_path / "app") as second:
        never.touch()
        flowdapt("--server", second.address, "logs", cut_off["uid"], "-f")  # to its end
        after = [
            flowdapt("--server", second.address, "get", "run", run["uid"], "-o", "json").json()
            for run in (ended, cut_off)
        ]
        inspect = ("--server", second.address, "inspect", "run", cut_off["uid"])
        changes = flowdapt(*inspect, "-o", "json").json()["transitions"]
        said = flowdapt(*inspect).out

    assert after[0]["result"] == ended["result"]
    assert (after[1]["state"], after[1]["resumed"]) == ("finished", 1)
    of_the_run = [change for change in changes if change["stage"] is None]
    assert [change["state"] for change in of_the_run] == ["running", "resumed", "finished"]
    assert f"a server that was started anew went on with it at {of_the_run[1]['at']}" in said


def test_a_draining_server_lets_runs_end_and_accepts_no_more(
    flowdapt: Call, tmp_path: Path
) -> None:
    file = tmp_path / "go"
    options = ("-o", "executor=threads", "-o", "drain_on_sigterm=true")
    with serving(tmp_path / "app", *options) as served:
        flowdapt("--server", served.address, "apply", served.resources)
        begun = flowdapt(
            "--server", served.address, "run", "patient", "--file", file, "--no-wait"
        ).out.strip()

        served.process.signal(signal.SIGTERM)
        served.process.line("draining")
        refused = flowdapt("--server", served.address, "run", "fruit")
        file.touch()
        status = served.process.status()

    assert status == 0
    assert refused.status == 1
    assert "draining, no new workflow runs accepted" in refused.err
    with serving(tmp_path / "app", "-o", "executor=threads") as after:
        done = flowdapt("--server", after.address, "get", "run", begun, "-o", "json")
        assert json.loads(done.out)["result"] == "done"


def test_a_second_signal_ends_the_draining(flowdapt: Call, tmp_path: Path) -> None:
    with serving(tmp_path / "app", "-o", "drain_on_sigterm=true") as served:
        flowdapt("--server", served.address, "apply", served.resources)
        never = tmp_path / "never"
        flowdapt("--server", served.address, "run", "patient", "--file", never, "--no-wait")

        served.process.signal(signal.SIGTERM)
        served.process.line("draining")
        served.process.signal(signal.SIGTERM)

        assert served.process.status() == 0
