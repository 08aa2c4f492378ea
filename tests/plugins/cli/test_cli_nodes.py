"""The command that shows nodes, against a server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import yaml
from flowdapt_cli.commands.nodes import row

from flowdapt.plugins import Plugins
from tests.plugins.client import serving

from .conftest import Call


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, plugins: Plugins) -> Iterator[serving.Served]:
    with serving.Served(tmp_path_factory.mktemp("nodes"), plugins).running() as served:
        yield served


def test_nodes_are_a_table_with_what_is_free(flowdapt: Call, server: serving.Served) -> None:
    done = flowdapt("--server", server.address, "nodes")

    head, row = done.out.splitlines()
    assert head.split()[:3] == ["node", "state", "cpus"]
    assert "ready" in row
    assert " of " in row


def test_nodes_are_data_for_scripts(flowdapt: Call, server: serving.Served) -> None:
    done = flowdapt("--server", server.address, "nodes", "-o", "yaml")

    (node,) = yaml.safe_load(done.out)
    assert node["state"] == "ready"
    assert node["resources"]["cpus"] <= (os.cpu_count() or 1)


def test_a_problem_of_a_node_is_shown() -> None:
    node = {
        "name": "shed",
        "state": "unusable",
        "resources": {"cpus": 2.0, "memory": 2**30},
        "free": {"cpus": 0.5, "memory": 2**29},
        "workers": 0,
        "plugin_set": "",
        "problem": "another version",
    }

    assert row(node) == {
        "node": "shed",
        "state": "unusable",
        "cpus": "0.5 of 2",
        "memory": "512 MiB of 1.0 GiB",
        "workers": 0,
        "problem": "another version",
    }
