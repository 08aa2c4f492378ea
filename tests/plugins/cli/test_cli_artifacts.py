"""Commands over artifacts, with a server that keeps them on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowdapt.plugins import Plugins
from tests.plugins.client import serving

from .conftest import Call, Done


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, plugins: Plugins) -> Iterator[serving.Served]:
    with serving.Served(tmp_path_factory.mktemp("artifacts"), plugins).running() as served:
        yield served


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own."""
    return f"n{os.urandom(4).hex()}"


@pytest.fixture
def artifacts(flowdapt: Call, server: serving.Served, namespace: str) -> Callable[..., Done]:
    """Call a command with the namespace of the test."""

    def call(command: str, *arguments: object) -> Done:
        given = (command, *arguments, "-n", namespace)
        return flowdapt("--server", server.address, "artifacts", *given)

    return call


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files."""
    found = [tmp_path / "model.bin", tmp_path / "notes.txt"]
    found[0].write_bytes(bytes(2048))
    found[1].write_text("dry")
    return found


def test_files_go_there_and_come_back_as_they_were(
    artifacts: Call, namespace: str, files: list[Path], tmp_path: Path
) -> None:
    there = artifacts("put", "soil", *files)
    back = artifacts("get", "soil", "--to", tmp_path / "back")

    names = [file.name for file in files]
    wanted = [f"{name} is in artifact {namespace}/soil, version" for name in names]
    assert [line.rpartition(" ")[0] for line in there.out.splitlines()] == wanted
    assert back.out.splitlines() == [str(tmp_path / "back" / name) for name in names]
    for file in files:
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()


def test_one_file_of_several_comes_alone_and_replaces_nothing_unasked(
    artifacts: Call, files: list[Path], tmp_path: Path
) -> None:
    artifacts("put", "soil", *files)
    files[1].write_text("mine")

    refused = artifacts("get", "soil", "notes.txt", "--to", tmp_path)
    kept = files[1].read_text()
    forced = artifacts("get", "soil", "notes.txt", "--to", tmp_path, "--force")

    assert refused.status == 2
    assert refused.err.startswith(f"Error: {files[1]} is there already; replace it with --force")
    assert (kept, files[1].read_text()) == ("mine", "dry")
    assert forced.out == f"{files[1]}\n"


def test_artifacts_are_listed_and_shown_with_their_files(
    artifacts: Call, namespace: str, files: list[Path]
) -> None:
    artifacts("put", "soil", *files)

    header, row = artifacts("ls").out.splitlines()
    shown = artifacts("info", "soil")
    scripts = artifacts("info", "soil", "-o", "json").json()

    assert header.split() == ["name", "namespace", "size", "type", "saved"]
    assert row.split()[:4] == ["soil", namespace, "2.0", "KiB"]
    assert "\nmodel.bin  2.0 KiB" in shown.out
    assert "2.0 KiB (2,051 bytes)" in shown.out
    assert [file["name"] for file in scripts["files"]] == ["model.bin", "notes.txt"]
    assert len(artifacts("ls", "--prefix", "so", "--limit", 1, "-o", "json").json()) == 1
    assert artifacts("ls", "--prefix", "x").err == "no artifacts\n"


def test_artifacts_are_removed_and_each_that_is_missing_is_named(
    artifacts: Call, namespace: str, files: list[Path]
) -> None:
    artifacts("put", "soil", files[0])

    done = artifacts("rm", "sea", "soil")

    assert done.status == 1
    assert done.err == f"Error: no artifact named '{namespace}/sea'\n"
    assert done.out == f"artifact {namespace}/soil deleted\n"
    assert artifacts("info", "soil").err == f"Error: no artifact named '{namespace}/soil'\n"


def test_files_that_cannot_be_sent_are_named_before_any_is(
    artifacts: Call, files: list[Path], tmp_path: Path
) -> None:
    twin = tmp_path / "twin" / files[0].name
    twin.parent.mkdir()
    twin.touch()

    missing = artifacts("put", "soil", files[0], tmp_path / "nowhere")
    same = artifacts("put", "soil", files[0], twin)

    assert (missing.status, same.status) == (2, 2)
    assert missing.err == f"Error: {tmp_path / 'nowhere'}: No such file or directory\n"
    assert "two of the files have the same name" in same.err
    assert artifacts("ls").err == "no artifacts\n"


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", ".hidden", ".."])
def test_a_name_that_leads_elsewhere_is_not_written_to(name: str, tmp_path: Path) -> None:
    from flowdapt_cli.errors import CommandError
    from flowdapt_cli.transfers import target

    with pytest.raises(CommandError, match="is no name of a file that could be written"):
        target(tmp_path, name, force=True)
