"""The library that speaks HTTP, as a client imports it."""

from __future__ import annotations

import subprocess
import sys

import pytest

DRAWING = {"click", "pygments", "rich"}


def loaded(code: str) -> set[str]:
    """Return the top names of the modules that a program of its own has imported in the end."""
    code += "\nimport sys\nprint(*(name for name, found in sys.modules.items() if found))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_a_client_imports_nothing_that_draws() -> None:
    names = loaded("from flowdapt.client import Client")

    assert "httpx" in names
    assert names & DRAWING == set()


@pytest.mark.parametrize("first", ["flowdapt.client", "httpx._main"])
def test_the_command_line_of_the_library_can_be_used_all_the_same(first: str) -> None:
    assert (
        loaded(f"import {first}\nimport flowdapt.client, httpx._main\nhttpx._main.main") > DRAWING
    )


def test_a_command_that_asks_a_server_imports_nothing_that_draws() -> None:
    ask = ["flowdapt", "--server", "127.0.0.1:1", "get", "workflows", "-o", "json"]
    code = (
        f"import runpy, sys\nsys.argv = {ask}\ntry: runpy.run_module('flowdapt', {{}}, '__main__')"
    )

    names = loaded(f"{code}\nexcept SystemExit as ended: assert ended.code == 1")

    assert "httpx" in names
    assert names & {"pygments", "rich"} == set()
