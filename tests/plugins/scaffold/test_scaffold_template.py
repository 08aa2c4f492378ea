"""What the template renders passes its own tests and linters untouched, whatever its kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from flowdapt_scaffold import candidates, rendering

SECONDS = 120.0  #: until a check of a project counts as hanging


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows of flowdapt, for all kinds."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("kind", rendering.kinds())
def test_what_is_rendered_passes_its_own_checks(kind: str, tmp_path: Path, cache: Path) -> None:
    name = "an-orchard-with-a-name-that-is-as-long-as-they-get"
    project = rendering.render(name, {"kind": kind, "author": "Ada"}, tmp_path)
    environment = installed(project, tmp_path / "site")
    before = sorted(project.rglob("*"))

    run(project, environment, "ruff", "check", "--no-cache")
    run(project, environment, "ruff", "format", "--check", "--no-cache")
    run(project, environment, "mypy", "--strict", "--cache-dir", cache)
    run(project, environment, "pytest", "-p", "no:cacheprovider", "-p", "no:xdist")
    run(project, environment, "flowdapt", "plugins", "check", ".")

    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("kind", rendering.kinds())
def test_only_what_belongs_to_its_kind_is_rendered(kind: str, tmp_path: Path) -> None:
    project = rendering.render("orchard", {"kind": kind}, tmp_path)

    found = {path.stem for path in (project / "orchard").glob("*.py")}
    own = {
        "stages": set[str](),
        "executor": {"executor", "elements"},
        "storage": {"storage"},
        "trigger": {"workdays"},
        "service": {"run_log"},
    }
    assert found == {"__init__", "stages", *own[kind]}
    files = [path.read_text() for path in project.rglob("*") if path.is_file()]
    assert not [text for text in files if "cookiecutter" in text or "{%" in text]
    assert yaml.safe_load((project / ".github/workflows/checks.yaml").read_text())["jobs"]


def installed(project: Path, site: Path) -> dict[str, str]:
    """Return the environment of a process that finds a project as if it were installed."""
    site.mkdir()
    candidates.candidate(project, site)  # writes its metadata, as an installer would
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWDAPT", "PYTEST", "COV"))}
    path = os.pathsep.join([str(project), str(site)])
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def run(project: Path, environment: dict[str, str], program: str, *arguments: object) -> None:
    """Run a program as the author of the project would, and fail with what it says."""
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *map(str, arguments)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{program}:\n{done.stdout}\n{done.stderr}"
