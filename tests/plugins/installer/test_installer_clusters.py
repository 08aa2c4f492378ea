"""Plugins on whole clusters, of machines with virtual environments of their own without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_nodes import Environments, Machines, machines
from tests.plugins.installer.sites import Site, orchard, serving
from tests.ray_clusters import known

NAMES = ("one", "two", "three")


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
    with known(), machines(request.param, environments, folder, *NAMES) as found:
        yield found


@pytest.fixture(scope="module")
def site(cluster: Machines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server on that cluster."""
    with serving(cluster, tmp_path_factory.mktemp("app")) as found:
        yield found


def test_one_command_puts_a_plugin_on_every_node_and_another_takes_it_back(
    site: Site, tmp_path: Path
) -> None:
    first, second = orchard(tmp_path, "1.0"), orchard(tmp_path, "2.0")

    installed = site.install(first)
    met, nodes = _on_all_nodes(site)
    upgraded = site.install(second)
    met_then, nodes_then = _on_all_nodes(site)
    site.change("rollback")
    met_last, _ = site.versions()

    assert len(installed.nodes) == len(upgraded.nodes) == 4
    assert (met, met_then, met_last) == ({"1.0"}, {"2.0"}, {"1.0"})
    assert nodes == nodes_then == {*NAMES}
    assert {one.problem for one in site.client.plugins.nodes()} == {""}


def test_a_run_in_progress_keeps_its_plugins_to_the_end(site: Site, tmp_path: Path) -> None:
    site.install(orchard(tmp_path, "1.0"))
    gate = tmp_path / "gate"
    begun = site.client.runs.start("versions", {"items": [str(gate)]})
    _until_there(site, tmp_path / "gate.begun")

    site.install(orchard(tmp_path, "2.0"))
    met, _ = site.versions(2)
    gate.touch()
    ended = site.client.runs.wait(begun)

    assert met == {"2.0"}
    assert ended.value() == ["1.0"]


def test_where_one_node_cannot_use_a_plugin_all_keep_what_they_had(
    site: Site, tmp_path: Path
) -> None:
    fails = (
        "import os\nassert '/two/' not in os.environ.get('FLOWDAPT_SETS_DIR', ''), 'not on two'\n"
    )
    site.install(orchard(tmp_path, "1.0"))

    failed = site.change("install", orchard(tmp_path, "3.0", fails))

    assert (failed.state, failed.step) == ("failed", "prepare")
    assert "orchard cannot be imported: AssertionError: not on two" in failed.error
    assert sum(1 for problem in failed.nodes.values() if problem) == 1
    assert site.versions()[0] == {"1.0"}


def test_a_node_that_joins_later_computes_with_what_is_active(
    site: Site, cluster: Machines, tmp_path: Path
) -> None:
    site.install(orchard(tmp_path, "1.0"))
    name = f"late{len(cluster.nodes)}"

    late = cluster.add(name)
    met, nodes = site.versions(60)
    while name not in nodes:  # the engine takes a while to give it work
        met, nodes = site.versions(60)

    assert met == {"1.0"}
    assert [path.name for path in late.sets.iterdir() if not path.name.startswith(".")]


def test_a_node_whose_files_were_meddled_with_is_told(
    site: Site, cluster: Machines, tmp_path: Path
) -> None:
    active = site.install(orchard(tmp_path, "1.0")).active
    place = cluster.nodes["two"].sets / active / "orchard" / "stages.py"
    text = place.read_text()
    place.write_text(text + "# meddled with\n")

    found = [one.problem for one in site.client.plugins.nodes() if one.problem]

    place.write_text(text)
    assert found == ["orchard/stages.py is not what its wheel brought"]
    assert {one.problem for one in site.client.plugins.nodes()} == {""}


def _on_all_nodes(site: Site) -> tuple[set[str], set[str]]:
    """Return the versions that are met on all nodes, some of which an engine leaves out first."""
    met, nodes = site.versions()
    while len(nodes) < len(NAMES):
        more, others = site.versions()
        met, nodes = met | more, nodes | others
    return met, nodes


def _until_there(site: Site, file: Path) -> None:
    """Wait for a file, as long as the server lives."""
    while not file.exists():
        assert site.client.status()
