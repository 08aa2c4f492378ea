"""Commands that ask a server, against a real one."""

from __future__ import annotations

import http.server
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import yaml

from .conftest import Call
from .processes import Process, Served

CONFIG = """\
kind: config
metadata: {name: NAME}
spec:
  data: {depth: 1}
"""


@pytest.fixture
def config(ask: Call, tmp_path: Path) -> Path:
    """A file with a config that the server has, with a name of its own."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.replace("NAME", f"c-{os.urandom(4).hex()}"))
    ask("apply", "-p", file)
    return file


def name_in(file: Path) -> str:
    return str(yaml.safe_load(file.read_text())["metadata"]["name"])


# Resources -----------------------------------------------------------------------------------


def test_apply_says_of_each_resource_what_was_done(ask: Call, config: Path) -> None:
    name = name_in(config)
    ask("delete", "config", name)

    first = ask("apply", "-p", config)
    again = ask("apply", "-p", config)
    config.write_text(config.read_text().replace("depth: 1", "depth: 2"))
    third = ask("apply", config)

    assert first.out == f"config {name} created\n"
    assert again.out == f"config {name} unchanged\n"
    assert third.out == f"config {name} changed\n"
    assert ask("inspect", "config", name, "-o", "json").json()["spec"]["data"] == {"depth": 2}


def test_apply_reads_stdin_and_answers_scripts(ask: Call, config: Path) -> None:
    done = ask("apply", "-p", "-", "-o", "json", stdin=config.read_text())

    assert done.json() == [{"kind": "config", "name": name_in(config), "verdict": "unchanged"}]


def test_apply_sends_nothing_where_one_file_is_wrong(ask: Call, tmp_path: Path) -> None:
    good, bad = tmp_path / "a.yaml", tmp_path / "b.yaml"
    good.write_text(CONFIG.replace("NAME", "never-sent"))
    bad.write_text(CONFIG.replace("NAME", "bad").replace("data", "dat"))

    done = ask("apply", tmp_path)

    assert done.status == 2
    assert f"{bad}:4: spec.dat: unknown field" in done.err
    assert ask("get", "config", "never-sent").status == 1


def test_apply_says_where_stdin_is_wrong(ask: Call) -> None:
    done = ask("apply", "-p", "-", stdin="metadata: {name: x}\n")

    assert done.status == 2
    assert done.err == (
        "Error: stdin: is no resource; it needs a `kind`, such as `kind: workflow`\n"
    )


def test_apply_without_files_is_wrong_usage(ask: Call) -> None:
    done = ask("apply")

    assert done.status == 2
    assert "name files or folders: flowdapt apply -p PATH" in done.err


def test_apply_passes_on_why_the_server_refuses(ask: Call, served: Served, tmp_path: Path) -> None:
    file = tmp_path / "typo.yaml"
    text = served.resources.read_text().replace("fruit.pick", "fruit.pik")
    file.write_text(text)

    done = ask("apply", file)

    assert done.status == 2
    assert done.err.startswith(f"Error: the server refused: workflow fruit of {file}: ")
    assert "no 'pik' (did you mean 'pick'?)" in done.err


@pytest.mark.parametrize("word", ["workflow", "workflows", "wf"])
def test_get_knows_a_kind_by_several_words(ask: Call, word: str) -> None:
    names = [resource["metadata"]["name"] for resource in ask("get", word, "-o", "json").json()]

    assert {"fruit", "rotten", "patient"} <= set(names)


def test_get_draws_a_table_for_people(ask: Call) -> None:
    header, *rows = ask("get", "workflows").out.splitlines()

    assert header.split() == ["name", "uid", "created", "changed"]
    name, uid, created, _ = next(row for row in rows if row.startswith("fruit ")).split()
    assert name == "fruit"
    assert UUID(uid)
    assert created[-1] in "sm"


def test_get_of_one_resource_is_one_for_scripts(ask: Call) -> None:
    assert ask("get", "wf", "fruit", "-o", "json").json()["metadata"]["name"] == "fruit"


def test_an_unknown_kind_is_answered_with_those_there_are(ask: Call) -> None:
    done = ask("get", "cofnig")

    assert done.status == 2
    assert done.err == "Error: no kind 'cofnig' (did you mean 'config' or 'configs'?)\n"


@pytest.mark.parametrize(
    "command", [["get", "wf", "friut"], ["inspect", "wf", "friut"], ["run", "friut"]]
)
def test_a_missing_resource_is_answered_with_names_that_are_near(
    ask: Call, command: list[str]
) -> None:
    done = ask(*command)

    assert done.status == 1
    assert done.err == "Error: no workflow named 'friut' (did you mean 'fruit'?)\n"


def test_inspect_shows_a_resource_whole(ask: Call) -> None:
    shown = yaml.safe_load(ask("inspect", "workflow", "fruit").out)

    assert shown["kind"] == "workflow"
    assert [stage["name"] for stage in shown["spec"]["stages"]] == ["pick", "weigh", "basket"]


def test_delete_removes_by_name_and_fails_for_what_is_not_there(ask: Call, config: Path) -> None:
    name = name_in(config)

    first = ask("delete", "config", name)
    again = ask("delete", "config", name)

    assert (first.status, first.out) == (0, f"config {name} deleted\n")
    assert (again.status, again.out) == (1, "")
    assert f"no config named '{name}'" in again.err


def test_delete_removes_what_stands_in_files(ask: Call, config: Path) -> None:
    done = ask("delete", "-p", config)

    assert done.out == f"config {name_in(config)} deleted\n"


def test_delete_wants_names_or_files(ask: Call) -> None:
    assert ask("delete", "config").status == 2
    assert ask("delete").status == 2


# Runs ----------------------------------------------------------------------------------------


def test_run_draws_the_result_and_says_how_it_went(ask: Call) -> None:
    done = ask("run", "fruit", "--n", "2")

    lines = [line.rstrip() for line in done.out.splitlines()]
    assert lines == ["fruits", "fruit  weight", "    0    0.00", "    1    1.25", "", "count: 2"]
    assert "weigh: finished, 2 items" in done.err
    assert " finished in " in done.err


def test_run_prints_nothing_but_json_for_scripts(ask: Call, tmp_path: Path) -> None:
    values = tmp_path / "input.yaml"
    values.write_text("n: 1\n")

    run = ask("run", "fruit", "--input", values, "-o", "json").json()

    assert run["state"] == "finished"
    assert run["input"] == {"n": 1}
    assert run["result"] == {"fruits": [{"fruit": 0, "weight": 0.0}], "count": 1}


def test_run_reads_its_input_from_stdin_and_the_namespace_from_an_option(ask: Call) -> None:
    run = ask("run", "fruit", "--input", "-", "-n", "farm", "-o", "yaml", stdin='{"n": 0}')

    assert yaml.safe_load(run.out)["namespace"] == "farm"
    assert yaml.safe_load(run.out)["result"]["count"] == 0


def test_a_failed_run_names_stage_and_item_and_shows_the_traceback(ask: Call) -> None:
    done = ask("run", "rotten")

    assert done.status == 1
    assert done.out == ""
    assert "\nstage sort, item 2:\nTraceback (most recent call last):\n" in done.err
    assert done.err.endswith("RuntimeError: it is rotten\n")


def test_a_failed_run_is_still_json_for_scripts(ask: Call) -> None:
    done = ask("run", "rotten", "-o", "json")

    assert done.status == 1
    assert done.json()["failure"]["item"] == 2


def test_inputs_before_the_workflow_are_wrong_usage(ask: Call) -> None:
    done = ask("run", "--n", "3", "fruit")

    assert done.status == 2
    assert "the workflow comes before its inputs: flowdapt run WORKFLOW --n ..." in done.err


def test_a_run_is_not_waited_for_where_nobody_asks_for_it(ask: Call, tmp_path: Path) -> None:
    started = ask("run", "patient", "--file", tmp_path / "never", "--no-wait")
    name = started.out.strip()

    cancelled = ask("cancel", name)

    assert cancelled.out == f"run {name} cancelled\n"
    assert ask("get", "run", name, "-o", "json").json()["state"] == "cancelled"


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(
    ask: Call, served: Served, start: Callable[..., Process], tmp_path: Path
) -> None:
    never = tmp_path / "never"
    process = start("--server", served.address, "run", "patient", "--file", never)
    name = process.line("run ").split()[1]

    process.signal(signal.SIGINT)
    status = process.status()

    assert status == 130
    assert f"the run goes on\n  see it:   flowdapt inspect run {name}\n" in process.text
    assert f"  stop it:  flowdapt cancel {name}" in process.text
    assert ask("get", "run", name, "-o", "json").json()["state"] == "running"
    ask("cancel", name)


def test_runs_are_listed_newest_first_also_of_all_workflows(ask: Call) -> None:
    ask("run", "fruit")
    ask("run", "rotten")

    of_all = ask("get", "runs", "-o", "json").json()
    of_one = ask("get", "runs", "fruit", "--limit", "1", "-o", "json").json()

    assert [run["workflow"] for run in of_all[:2]] == ["rotten", "fruit"]
    assert [run["workflow"] for run in of_one] == ["fruit"]


def test_names_alone_are_printed_for_scripts(ask: Call) -> None:
    begun = ask("run", "fruit", "-o", "json").json()["name"]

    assert ask("get", "runs", "--limit", "1", "-o", "name").out == f"{begun}\n"
    assert "fruit" in ask("get", "workflows", "-o", "name").out.splitlines()
    assert ask("get", "runs", "--state", "cancelled", "--since", "0s", "-o", "name").out == ""


def test_a_run_is_inspected_with_its_stages_and_its_failure(ask: Call) -> None:
    name = ask("run", "rotten", "-o", "json").json()["name"]

    people = ask("inspect", "run", name)
    scripts = ask("inspect", "run", name, "-o", "json").json()

    assert "\nstage  state " in people.out
    assert "\nsort   failed " in people.out
    assert "RuntimeError: it is rotten" in people.out
    assert [stage["stage"] for stage in scripts["stages"]] == ["pick", "sort"]


def test_a_run_is_inspected_with_the_sizes_of_what_its_stages_hand_on(ask: Call) -> None:
    name = ask("run", "fruit", "-o", "json").json()["name"]

    people = ask("inspect", "run", name)
    scripts = ask("inspect", "run", name, "-o", "json").json()

    sizes = [stage["result_bytes"] for stage in scripts["stages"]]
    assert all(0 < size < 1000 for size in sizes)
    assert all(f" {size} B " in people.out for size in sizes)


ROOTS = """
    kind: workflow
    metadata: {name: roots}
    spec:
      stages:
        - {name: numbers, target: json.loads}
        - {name: root, target: math.sqrt, type: parameterized, depends_on: [numbers]}
"""


@pytest.fixture
def roots(ask: Call, tmp_path: Path) -> str:
    """Name a run whose third element of four failed."""
    (tmp_path / "roots.yaml").write_text(ROOTS)
    ask("apply", tmp_path / "roots.yaml")
    name: str = ask("run", "roots", "--s", '"[4, 9, -1, 16]"', "-o", "json").json()["name"]
    return name


def test_elements_of_a_stage_are_shown_with_what_became_of_them(ask: Call, roots: str) -> None:
    people = ask("inspect", "run", roots, "--items", "root")
    failed = ask("inspect", "run", roots, "--items", "root", "--failed")
    scripts = ask("inspect", "run", roots, "--items", "root", "-o", "json").json()

    header, *rows, summed_up = people.out.splitlines()
    assert header.split() == ["item", "state", "tries", "seconds", "error"]
    assert [row.split()[:3] for row in rows] == [
        ["0", "finished", "1"],
        ["1", "finished", "1"],
        ["2", "failed", "1"],
        ["3", "finished", "1"],
    ]
    assert rows[2].endswith("ValueError: math domain error")
    assert summed_up.startswith("stage root: 4 of 4 items done, 1 failed; ")
    assert [row.split()[0] for row in failed.out.splitlines()[1:-1]] == ["2"]
    assert scripts["summary"]["count"] == 4
    assert [item["item"] for item in scripts["items"]] == [0, 1, 2, 3]


def test_the_slowest_elements_of_a_stage_are_shown_first(ask: Call, roots: str) -> None:
    shown = ask("inspect", "run", roots, "--items", "root", "--slowest", 2, "-o", "json").json()

    seconds = [item["seconds"] for item in shown["items"]]
    assert len(seconds) == 2
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] == shown["summary"]["seconds"]["most"]


def test_elements_are_asked_for_by_their_stage(ask: Call, roots: str) -> None:
    unknown = ask("inspect", "run", roots, "--items", "roto")
    without = ask("inspect", "run", roots, "--failed")
    other = ask("inspect", "workflow", "roots", "--items", "root")

    assert (unknown.status, without.status, other.status) == (2, 2, 2)
    assert f"run '{roots}' has no elements of a stage 'roto' (did you mean 'root'?)" in unknown.err
    assert "name their stage with --items STAGE" in without.err
    assert "only runs have elements" in other.err


def test_logs_are_printed_behind_the_stage_that_wrote_them(ask: Call) -> None:
    name = ask("run", "fruit", "-o", "json").json()["name"]

    assert ask("logs", name).out == "pick | picking 3\n"
    assert ask("logs", name, "-o", "json").json()[0]["message"] == "picking 3"


def test_a_missing_run_is_named(ask: Call) -> None:
    assert ask("logs", "no-such-run").err == "Error: no run named 'no-such-run'\n"
    assert ask("cancel", "no-such-run").status == 1


def test_a_run_is_deleted(ask: Call) -> None:
    name = ask("run", "fruit", "-o", "json").json()["name"]

    done = ask("delete", "run", name)

    assert done.out == f"run {name} deleted\n"
    assert ask("get", "run", name).status == 1


def test_in_a_terminal_each_stage_has_a_bar(ask: Call, served: Served) -> None:
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "flowdapt", "--server", served.address, "run", "fruit"]

    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
    drawn = os.read(terminal, 100_000).decode()

    assert b"count: 3" in done.stdout
    assert "pick" in drawn
    assert "━━━━" in drawn
    assert "3 items" in drawn


# The server ----------------------------------------------------------------------------------


def test_status_says_what_a_server_is_made_of(ask: Call, served: Served) -> None:
    people = ask("status")
    scripts = ask("status", "-o", "json").json()

    assert f"address      {served.address}" in people.out
    assert "runs         accepted" in people.out
    assert "CoreService OK" in people.out
    assert scripts["draining"] is False


@pytest.mark.parametrize(
    "command", [["status"], ["get", "wf"], ["run", "fruit"], ["logs", "x"], ["delete", "run", "x"]]
)
def test_without_a_server_it_is_said_how_to_start_one(flowdapt: Call, command: list[str]) -> None:
    done = flowdapt("-o", "rpc.api.port=1", *command)

    assert done.status == 1
    assert done.err == (
        "Error: no server answers at http://127.0.0.1:1; start one with 'flowdapt serve'\n"
    )


def test_the_address_may_come_from_the_environment(
    flowdapt: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWDAPT__SERVER", "127.0.0.1:2")

    assert "no server answers at http://127.0.0.1:2;" in flowdapt("status").err


def test_what_is_no_flowdapt_server_is_said_to_be_none(flowdapt: Call) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_port}"

        done = flowdapt("--server", address, "status")

    assert done.status == 1
    assert done.err == f"Error: what answers at {address} is no flowdapt server\n"


def test_what_is_no_address_is_wrong_usage(flowdapt: Call) -> None:
    done = flowdapt("--server", "http://farm:port", "status")

    assert done.status == 2
    assert done.err.startswith("Error: 'http://farm:port' is no address of a server: ")


def test_what_json_has_no_word_for_is_not_sent(ask: Call) -> None:
    done = ask("run", "fruit", "--input", "-", stdin="n: .nan\n")

    assert done.status == 2
    assert done.err.startswith("Error: what is to be sent is no JSON: ")
