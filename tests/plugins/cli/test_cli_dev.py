"""A server over a folder: it applies, runs, watches, and lets debuggers have the terminal."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Call, Done
from .processes import FRUIT, Process, write_resources

OPTIONS = ("-o", "rpc.api.port=0", "-o", "executor=threads")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with workflows and their functions."""
    folder = tmp_path / "farm"
    folder.mkdir()
    (folder / "fruit.py").write_text(textwrap.dedent(FRUIT))
    write_resources(folder / "fruit.yaml", "fruit")
    return folder


def dev(*arguments: object, stdin: str = "") -> Done:
    command = [sys.executable, "-m", "flowdapt", *OPTIONS, "dev", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_folder_is_applied_and_its_workflow_is_run(folder: Path) -> None:
    done = dev(folder, "--run", "fruit", "--exit", "--n", "2")

    assert done.status == 0
    assert done.out.splitlines()[-1] == "count: 2"
    assert "workflow fruit created\n" in done.err
    assert "weigh: finished, 2 items" in done.err
    assert (folder / ".flowdapt" / ".gitignore").read_text() == "*\n"


def test_nothing_but_the_run_is_on_standard_output_for_scripts(folder: Path) -> None:
    done = dev(folder, "--run", "fruit", "--exit", "-o", "json")

    assert done.json()["result"]["count"] == 3


def test_a_failed_run_fails_the_program(folder: Path) -> None:
    done = dev(folder, "--run", "rotten", "--exit")

    assert done.status == 1
    assert done.err.endswith("RuntimeError: it is rotten\n")


def test_an_unknown_workflow_is_answered_with_names_that_are_near(folder: Path) -> None:
    done = dev(folder, "--run", "friut", "--exit")

    assert done.status == 1
    assert "Error: no workflow named 'friut' (did you mean 'fruit'?)\n" in done.err


def test_a_bad_resource_is_named_with_file_and_line(folder: Path) -> None:
    file = folder / "fruit.yaml"
    file.write_text(file.read_text().replace("depends_on: [pick]}", "depend_on: [pick]}"))

    done = dev(folder, "--run", "fruit", "--exit")

    assert done.status == 2
    assert f"{file}:7: spec.stages.1.depend_on: unknown field" in done.err


def test_it_waits_for_a_bad_resource_to_be_mended_and_then_runs(
    folder: Path, start: Callable[..., Process]
) -> None:
    file = folder / "fruit.yaml"
    good = file.read_text()
    file.write_text(good.replace("kind: workflow", "kind: worklfow", 1))
    process = start(*OPTIONS, "dev", folder, "--run", "fruit")
    process.line("is no kind of resource (did you mean 'workflow'?)")

    file.write_text(good)

    process.line("workflow fruit created")
    process.line("finished in")
    process.line("count: 3")


def test_a_function_that_was_missing_is_found_once_the_code_has_it(
    folder: Path, start: Callable[..., Process]
) -> None:
    code = (folder / "fruit.py").read_text()
    (folder / "fruit.py").write_text(code.replace("def weigh", "def wiegh"))
    process = start(*OPTIONS, "dev", folder)
    refusal = process.line("did you mean 'wiegh'?")
    assert f"{folder}/fruit.yaml:7: spec.stages.1.target: target 'fruit.weigh'" in refusal

    (folder / "fruit.py").write_text(code)

    process.line("workflow fruit created")


def test_a_change_is_applied_and_the_server_goes_on_until_a_signal(
    folder: Path, start: Callable[..., Process], flowdapt: Call
) -> None:
    process = start(*OPTIONS, "dev", folder)
    address = process.line("serves at").split("serves at ")[1].split(",")[0]
    process.line("workflow patient created")

    (folder / "more.json").write_text(
        json.dumps({"kind": "config", "metadata": {"name": "more"}, "spec": {"data": {"a": 1}}})
    )

    process.line("config more created")
    assert flowdapt("--server", address, "run", "fruit", "-o", "json").json()["state"] == "finished"
    process.signal(signal.SIGINT)
    assert process.status() == 0


def test_an_edit_of_the_code_counts_for_the_next_run(
    folder: Path, start: Callable[..., Process], flowdapt: Call
) -> None:
    process = start(*OPTIONS, "dev", folder)
    address = process.line("serves at").split("serves at ")[1].split(",")[0]
    process.line("workflow patient created")
    code = (folder / "fruit.py").read_text()

    (folder / "fruit.py").write_text(code.replace("len(fruits)", "-len(fruits)"))

    done = flowdapt("--server", address, "run", "fruit", "-o", "json")
    assert done.json()["result"]["count"] == -3


def test_a_port_that_is_taken_gives_way_to_the_next(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        done = _dev_on(port, folder)

    assert done.status == 0
    assert f"port {port} is taken; using " in done.err


def _dev_on(port: int, folder: Path) -> Done:
    options = ["-o", f"rpc.api.port={port}", "-o", "executor=threads"]
    command = [sys.executable, "-m", "flowdapt", *options, "dev", str(folder), "--exit"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_breakpoint_stops_in_the_terminal(folder: Path) -> None:
    code = (folder / "fruit.py").read_text()
    (folder / "fruit.py").write_text(code.replace("    print(", "    breakpoint()\n    print("))

    done = dev(folder, "--run", "fruit", "--debug", "--exit", stdin="p n * 100\nc\n")

    assert done.status == 0
    assert "(Pdb) 300\n" in done.out
    assert done.out.splitlines()[-1] == "count: 3"


def test_inputs_without_a_run_are_wrong_usage(folder: Path, flowdapt: Call) -> None:
    done = flowdapt("dev", folder, "--n", "3")

    assert done.status == 2
    assert "inputs are for a run: name it with --run WORKFLOW" in done.err


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path, flowdapt: Call) -> None:
    done = flowdapt("dev", tmp_path / "none")

    assert done.status == 2
    assert "does not exist" in done.err


def test_app_dir_may_be_elsewhere(folder: Path, tmp_path: Path) -> None:
    command = ["-d", tmp_path / "elsewhere", *OPTIONS, "dev", folder, "--exit"]
    call = [sys.executable, "-m", "flowdapt", *map(str, command)]

    done = subprocess.run(call, capture_output=True, text=True, check=True)

    assert f"with its files in {tmp_path}/elsewhere" in done.stderr
    assert not (folder / ".flowdapt").exists()
