"""Plugins on whole clusters, of machines with virtual environments of their own without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowdapt.client import Client, PluginChange
from tests.cluster_nodes import Environments, Machines, machines
from tests.plugins.cli.processes import Process
from tests.ray_clusters import known
from tests.wheelhouse import wheel

WORKFLOW: dict[str, Any] = {
    "kind": "workflow",
    "metadata": {"name": "versions"},
    "spec": {
        "stages": [
            {
                "name": "versions",
                "target": "orchard.stages.version",
                "type": "parameterized",
                "options": {"map_on": "items", "chunk_size": 1},
            }
        ]
    },
}
STAGES = """
    import os, time
    VERSION = {version!r}
    def version(items):
        if isinstance(items, str):  # a file that is waited for
            open(items + ".begun", "w").close()
            while not os.path.exists(items):
                time.sleep(0.02)
            from orchard import late
            return late.VERSION
        time.sleep(0.05)
        return VERSION, os.environ["FLOWDAPT_SETS_DIR"]
    """


def orchard(folder: Path, version: str, extra: str = "") -> Path:
    """Return a wheel of a plugin that tells its version, also of what it imports late."""
    stages = STAGES.format(version=version)
    files = {"orchard/__init__.py": extra, "orchard/stages.py": stages}
    files["orchard/late.py"] = f"VERSION = {version!r}\n"
    return wheel(folder, "orchard", version, files)


@dataclass
class Site:
    """A server on a cluster."""

    cluster: Machines
    client: Client
    process: Process

    def change(self, what: Any, *names: str | Path, **facts: Any) -> PluginChange:
        """Make a change, and return how it ended."""
        wanted = [
            self.client.plugins.send(name.name, name.read_bytes())
            if isinstance(name, Path)
            else name
            for name in names
        ]
        begun = self.client.plugins.begin(what, wanted, **facts)
        *_, ended = self.client.plugins.follow(begun.id)
        return ended

    def install(self, *names: str | Path, **facts: Any) -> PluginChange:
        """Install something that can be installed."""
        ended = self.change("install", *names, **facts)
        assert ended.state == "done", ended.error
        return ended

    def versions(self, count: int = 20, **facts: Any) -> tuple[set[str], set[str]]:
        """Run the workflow; return the versions that were met, and on which nodes."""
        found = self.client.runs.run("versions", {"items": [*range(count)]}, **facts).value()
        return {version for version, _ in found}, {Path(sets).parent.name for _, sets in found}


@contextmanager
def serving(cluster: Machines, app_dir: Path) -> Iterator[Site]:
    """Run a server on a cluster."""
    options = ["rpc.api.port=0", *cluster.settings]
    given = [word for option in options for word in ("-o", option)]
    process = Process("-d", app_dir, *given, "serve")
    try:
        address = process.line("serves at").split("serves at ")[1].split(",")[0]
        with Client(address) as client:
            client.workflows.apply(WORKFLOW)
            yield Site(cluster, client, process)
    finally:
        process.kill()


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Environments for the nodes of all tests."""
    return Environments(tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="module", params=["ray", "dask"])
def cluster(
    request: pytest.FixtureRequest,
    environments: Environments,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machines]:
    """A cluster of three machines."""
    folder = tmp_path_factory.mktemp(request.param)
    with known(), machines(request.param, environments, folder, "one", "two", "three") as found:
        yield found


@pytest.fixture
def site(cluster: Machines, tmp_path: Path) -> Iterator[Site]:
    """A server on that cluster."""
    with serving(cluster, tmp_path / "app") as found:
        yield found


def test_one_command_puts_a_plugin_on_every_node_and_another_takes_it_back(
    site: Site, tmp_path: Path
) -> None:
    first, second = orchard(tmp_path, "1.0"), orchard(tmp_path, "2.0")

    installed = site.install(first)
    met, nodes = site.versions()
    upgraded = site.install(second)
    met_then, nodes_then = site.versions()
    site.change("rollback")
    met_last, _ = site.versions()

    assert len(installed.nodes) == len(upgraded.nodes) == 4
    assert (met, met_then, met_last) == ({"1.0"}, {"2.0"}, {"1.0"})
    assert nodes == nodes_then == {"one", "two", "three"}
    assert {one.problem for one in site.client.plugins.nodes()} == {""}


def test_a_run_in_progress_keeps_its_plugins_to_the_end(site: Site, tmp_path: Path) -> None:
    site.install(orchard(tmp_path, "1.0"))
    gate = tmp_path / "gate"
    begun = site.client.runs.start("versions", {"items": [str(gate)]})
    _until_there(site, tmp_path / "gate.begun")

    site.install(orchard(tmp_path, "2.0"))
    met, _ = site.versions(4)
    gate.touch()
    ended = site.client.runs.wait(begun)

    assert met == {"2.0"}
    assert ended.value() == ["1.0"]


def test_where_one_node_cannot_use_a_plugin_all_keep_what_they_had(
    site: Site, tmp_path: Path
) -> None:
    fails = "import os\nassert '/two/' not in os.environ['FLOWDAPT_SETS_DIR'], 'not on two'\n"
    site.install(orchard(tmp_path, "1.0"))

    failed = site.change("install", orchard(tmp_path, "3.0", fails))

    assert (failed.state, failed.step) == ("failed", "prepare")
    assert "orchard cannot be imported: AssertionError: not on two" in failed.error
    assert sum(1 for problem in failed.nodes.values() if problem) == 1
    assert site.versions()[0] == {"1.0"}


def test_a_node_that_joins_later_computes_with_what_is_active(
    site: Site, tmp_path: Path
) -> None:
    site.install(orchard(tmp_path, "1.0"))
    name = f"late{len(site.cluster.nodes)}"

    late = site.cluster.add(name)
    met, nodes = site.versions(60)
    while name not in nodes:  # the engine takes a while to give it work
        met, nodes = site.versions(60)

    assert met == {"1.0"}
    assert [path.name for path in late.sets.iterdir() if not path.name.startswith(".")]


def test_a_node_that_lost_its_files_says_so_and_gets_them_anew(site: Site, tmp_path: Path) -> None:
    site.install(orchard(tmp_path, "1.0"))
    (place,) = site.cluster.nodes["two"].sets.glob("*/orchard/stages.py")
    text = place.read_text()
    place.write_text(text + "# meddled with\n")

    found = [one.problem for one in site.client.plugins.nodes() if one.problem]

    place.write_text(text)
    assert found == ["orchard/stages.py is not what its wheel brought"]


def _until_there(site: Site, file: Path) -> None:
    """Wait for a file, as long as the server lives."""
    while not file.exists():
        assert site.client.status()
