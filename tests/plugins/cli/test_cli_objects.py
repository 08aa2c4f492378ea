"""Commands over objects, with a server whose stages put some."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from flowdapt_memory.shm import ShmMemory

from flowdapt.plugins import Plugins
from tests.plugins.client import serving

from .conftest import Call, Done


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, plugins: Plugins) -> Iterator[serving.Served]:
    folder = tmp_path_factory.mktemp("objects")
    with serving.Served(folder, plugins, "memory.capacity=8MiB").running() as served:
        yield served


@pytest.fixture
def memory(server: serving.Served) -> Iterator[ShmMemory]:
    """The server's memory, which is empty before and after."""
    memory = server.server.memory
    assert isinstance(memory, ShmMemory)
    yield memory
    for namespace in ("default", "farm"):
        memory.clear(namespace)


@pytest.fixture
def objects(flowdapt: Call, server: serving.Served) -> Call:
    def call(*arguments: object) -> Done:
        return flowdapt("--server", server.address, "objects", *arguments)

    return call


def put(memory: ShmMemory, key: str, size: int, namespace: str = "default") -> None:
    memory.put(namespace, key, [bytes(size)], size=size, type="numpy.ndarray", ttl=3600)


def test_objects_are_listed_with_sizes_for_people(objects: Call, memory: ShmMemory) -> None:
    put(memory, "soil", 1_500_000)
    put(memory, "sky", 10, namespace="farm")

    everywhere, farm = objects("ls").out, objects("ls", "-n", "farm").out
    header, first, second = everywhere.splitlines()

    assert header.split() == ["key", "namespace", "place", "size", "type", "created", "expires"]
    assert first.split()[:6] == ["soil", "default", "memory", "1.4", "MiB", "numpy.ndarray"]
    assert second.split()[:2] == ["sky", "farm"]
    assert [line.split()[0] for line in farm.splitlines()] == ["key", "sky"]


def test_objects_are_listed_as_json_and_yaml_for_scripts(objects: Call, memory: ShmMemory) -> None:
    for number in range(3):
        put(memory, f"soil{number}", 100)
    put(memory, "sky", 10)

    found = objects("ls", "--prefix", "soil", "--limit", 2, "-o", "json").json()

    assert [(one["key"], one["size"]) for one in found] == [("soil0", 100), ("soil1", 100)]
    assert yaml.safe_load(objects("ls", "--prefix", "soil", "-o", "yaml").out)[2]["key"] == "soil2"


def test_that_there_are_none_is_no_table(objects: Call, memory: ShmMemory) -> None:
    done = objects("ls", "--place", "memory")

    assert (done.status, done.out, done.err) == (0, "", "no objects\n")


def test_an_object_is_shown_with_all_that_is_known(objects: Call, memory: ShmMemory) -> None:
    put(memory, "soil", 9 * 2**20)

    shown = objects("info", "soil").out
    scripts = objects("info", "soil", "-o", "json").json()

    assert "size       9.0 MiB (9,437,184 bytes)\n" in shown
    assert "place      disk " in shown
    assert [one["place"] for one in scripts] == ["disk"]


def test_objects_are_removed_and_each_that_is_missing_is_named(
    objects: Call, memory: ShmMemory
) -> None:
    put(memory, "soil", 10, namespace="farm")
    put(memory, "sky", 10, namespace="farm")

    done = objects("rm", "soil", "sea", "sky", "--namespace", "farm")

    assert done.status == 1
    assert done.out == "object farm/soil deleted\nobject farm/sky deleted\n"
    assert done.err == "Error: no object named 'farm/sea'\n"
    assert objects("rm", "soil").err == "Error: no object named 'default/soil'\n"


def test_stats_tell_how_full_the_memory_is(objects: Call, memory: ShmMemory) -> None:
    put(memory, "soil", 2 * 2**20)
    put(memory, "sky", 10, namespace="farm")

    shown = objects("stats").out
    scripts = objects("stats", "-o", "json").json()

    assert "capacity          8.0 MiB " in shown
    assert "\nnamespace  objects  memory   disk  artifact\n" in shown
    assert "\ndefault          1  2.0 MiB  0 B   0 B " in shown
    assert scripts["capacity"] == 8 * 2**20
    assert [one["namespace"] for one in scripts["namespaces"]] == ["default", "farm"]


def test_a_place_that_there_is_not_is_a_wrong_command(objects: Call) -> None:
    done = objects("ls", "--place", "cellar")

    assert done.status == 2
    assert "must be one or more of 'memory', 'disk', 'artifact'" in done.err


@pytest.mark.parametrize("command", ["ls", "stats", "info soil", "rm soil"])
def test_without_a_server_that_is_said(flowdapt: Call, command: str) -> None:
    done = flowdapt("--server", "http://127.0.0.1:1", "objects", *command.split())

    assert done.status == 1
    assert done.err.startswith("Error: no server answers at http://127.0.0.1:1; start one with")
