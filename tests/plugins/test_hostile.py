"""Starts a server beside more than two hundred plugins that do harm, and asks who they are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flowdapt_probe.trials import tried

from tests.plugins import hostile
from tests.sites import Site

#: The program, which here waits less long for imports that never end.
PROGRAM = (
    "from flowdapt_probe import trials; trials.SECONDS = 3\n"
    "from flowdapt.__main__ import main; main()"
)


@dataclass(frozen=True)
class Crowd:
    """All hostile plugins, installed and tried."""

    site: Site
    app_dir: Path

    def ask(self, *arguments: str) -> Any:
        """Return what a command prints as JSON."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments, "-o", "json"],
            env=hostile.environment(self.site, self.app_dir),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=hostile.SECONDS,
        )
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    folder = tmp_path_factory.mktemp("crowd")
    crowd = Crowd(hostile.install(folder / "site-packages"), folder / "app")
    crowd.ask("plugins", "list")
    return crowd


def test_there_are_two_hundred_of_them() -> None:
    assert len(hostile.PLUGINS) >= 200


def test_each_is_named_with_what_it_does(crowd: Crowd) -> None:
    found = crowd.ask("plugins", "list")

    assert [*hostile.wrong(found, hostile.PLUGINS)] == []


def test_there_is_advice_for_each_that_is_sick(crowd: Crowd) -> None:
    found = crowd.ask("plugins", "doctor")

    sick = [name for name, one in hostile.PLUGINS.items() if one.state != "healthy"]
    assert len(found) == len(sick)
    assert [plugin for plugin in found if plugin["advice"] in ("", "see the reason")] == []


def test_a_server_starts_beside_all_of_them_and_its_log_names_them(crowd: Crowd) -> None:
    log = hostile.served(crowd.site, crowd.app_dir)

    sick = [name for name, one in hostile.PLUGINS.items() if one.state != "healthy"]
    assert [name for name in sick if f"plugin {name}" not in log] == []
    for name in ("told_off", "leaves_on_events", "cancels_on_events"):
        assert f"plugin healthy_{name} is quarantined and told of no more events" in log
    for name in ("service_made", "service_begun"):
        assert f"plugin healthy_{name} keeps the server from starting" in log


@pytest.mark.parametrize(
    "library",
    [
        "distributed",
        "joblib",
        "numpy",
        "opentelemetry.sdk.trace",
        "pandas",
        "polars",
        "pyarrow",
        "ray",
        "s3fs",
        "uvloop",
    ],
)
def test_a_library_that_changes_something_for_good_reasons_passes(library: str) -> None:
    verdict = tried(library)

    assert verdict.fault == ""
