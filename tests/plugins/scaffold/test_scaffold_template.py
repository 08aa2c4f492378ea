"""What the template renders passes its own tests and linters untouched, whatever its kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from flowdapt_scaffold import rendering

from tests.plugin_projects import installed, pass_checks

TIDES = Path(__file__).parents[3] / "examples" / "tides"


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

    pass_checks(project, environment, cache)

    assert sorted(project.rglob("*")) == before


def test_the_example_of_a_plugin_passes_its_own_checks(tmp_path: Path, cache: Path) -> None:
    project = tmp_path / "tides"
    shutil.copytree(TIDES, project)

    pass_checks(project, installed(project, tmp_path / "site"), cache)


@pytest.mark.parametrize("kind", rendering.kinds())
def test_only_what_belongs_to_its_kind_is_rendered(kind: str, tmp_path: Path) -> None:
    project = rendering.render("orchard", {"kind": kind}, tmp_path)

    found = {path.stem for path in (project / "orchard").glob("*.py")}
    own = {
        "stages": set[str](),
        "executor": {"executor"},
        "storage": {"storage"},
        "trigger": {"workdays"},
        "service": {"run_log"},
    }
    assert found == {"__init__", "stages", *own[kind]}
    files = [path.read_text() for path in project.rglob("*") if path.is_file()]
    assert not [text for text in files if "cookiecutter" in text or "{%" in text]
    assert yaml.safe_load((project / ".github/workflows/checks.yaml").read_text())["jobs"]
