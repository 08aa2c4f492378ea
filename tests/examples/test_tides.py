"""The example of a plugin, installed where nothing else is but what it requires."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "tides"
SECONDS = 240.0  #: for a step of the installation


def uv(*arguments: object, folder: Path) -> None:
    """Run uv, with what it has kept if that is enough, and else with an index."""
    for offline in (["--offline"], []):
        done = subprocess.run(
            ["uv", *map(str, arguments), *offline],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode == 0:
            return
    raise AssertionError(f"uv {arguments}:\n{done.stdout}\n{done.stderr}")


@pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed here")
def test_it_is_installed_into_a_clean_environment(tmp_path: Path) -> None:
    wheels, environment = tmp_path / "wheels", tmp_path / "environment"
    for project in (ROOT, PLUGIN):
        uv("build", "--wheel", "--out-dir", wheels, project, folder=tmp_path)
    uv("venv", environment, folder=tmp_path)
    python = environment / "bin" / "python"

    uv("pip", "install", "--python", python, *sorted(wheels.glob("*.whl")), folder=tmp_path)

    def flowdapt(*arguments: str) -> str:
        done = subprocess.run(
            [environment / "bin" / "flowdapt", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        return done.stdout

    listed = {one["name"]: one for one in json.loads(flowdapt("plugins", "list", "-o", "json"))}
    assert listed["flowdapt-tides"]["state"] == "healthy"
    assert listed["flowdapt-tides"]["provides"] == ["commands:tides", "triggers:high_water"]
    assert all(one["state"] == "healthy" for one in listed.values())
    assert len(flowdapt("tides", "Heligoland", "-n", "3").splitlines()) == 3
    assert "nothing is wrong" in flowdapt("plugins", "check", str(PLUGIN))
    flowdapt("plugins", "new", "orchard", "--defaults")  # the template is in the wheel, too
    assert "nothing is wrong" in flowdapt("plugins", "check", "orchard")
