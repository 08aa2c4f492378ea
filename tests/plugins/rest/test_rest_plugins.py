"""Routes over plugins and their data files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import httpx
import pytest
from flowdapt_rest.datafiles import chosen, data_files, is_data

from flowdapt.plugins import Plugins
from tests.sites import Site

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

ABOUT = """\
Metadata-Version: 2.1
Name: orchard_plugin
Version: 2.1.0
Summary: Orchard stages
Author: A. Grower
License: MIT
Project-URL: Homepage, https://orchard.example
Requires-Dist: pandas>=2
"""
DATA = {
    "orchard_plugin/stages.yaml": "a: 1",
    "orchard_plugin/data/towns.csv": "x,y",
    "orchard_plugin/data/deep/stages.yaml": "hidden by the upper one",
    "orchard_plugin/tests/fixture.csv": "no",
    "orchard_plugin/__init__.py": "",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # Below a folder whose name would be left out inside a package.
    made = Site(tmp_path / "docs" / ".pytest_cache" / "site-packages")
    made.folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(made.folder))
    yield made
    made.forget()


@pytest.fixture
def about(site: Site) -> Path:
    """The metadata of an installed plugin with data files."""
    folder = site.install("orchard_plugin", "", version="2.1.0")
    (site.folder / "orchard_plugin.py").unlink()
    (folder / "METADATA").write_text(ABOUT)
    for name, text in DATA.items():
        file = site.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (site.folder.parent / "secret.csv").write_text("no")
    outside = ["../secret.csv", "orchard_plugin/gone.csv", "orchard_plugin-2.1.0.dist-info/RECORD"]
    (folder / "RECORD").write_text("".join(f"{name},,\n" for name in (*DATA, *outside)))
    return folder


@pytest.fixture
def plugins(site: Site, about: Path, server: Server) -> Plugins:
    server.plugins = site.load()
    return server.plugins


async def test_a_plugin_is_told_of_as_its_distribution_says(
    plugins: Plugins, client: httpx.AsyncClient
) -> None:
    listed = (await client.get("/plugin/")).json()
    one = await client.get("/plugin/orchard_plugin")

    assert one.json() == {
        "name": "orchard_plugin",
        "metadata": {
            "description": "Orchard stages",
            "author": "A. Grower",
            "license": "MIT",
            "url": "https://orchard.example",
            "version": "2.1.0",
            "requirements": ["pandas>=2"],
        },
        "module": "orchard_plugin",
    }
    assert listed == [one.json()]
    assert one.headers["content-type"] == "application/vnd.flowdapt.ai.plugin.v1alpha1+json"


async def test_what_a_distribution_does_not_say_is_an_empty_text(
    site: Site, about: Path, server: Server, client: httpx.AsyncClient
) -> None:
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: orchard_plugin\nVersion: 1\n")
    server.plugins = site.load()

    metadata = (await client.get("/plugin/orchard_plugin")).json()["metadata"]

    nothing = dict.fromkeys(("description", "author", "license", "url"), "")
    assert metadata == {**nothing, "version": "1", "requirements": []}


async def test_a_plugin_that_is_not_in_use_shows_only_in_v1(
    site: Site, server: Server, client: httpx.AsyncClient
) -> None:
    site.install("broken", "import no_such_library")
    server.plugins = site.load()

    old = await client.get("/plugin/")
    (new,) = (await client.get("/plugin/", headers={"X-API-Version": "plugin.v1"})).json()

    assert old.json() == []
    assert (await client.get("/plugin/broken")).status_code == 404
    assert (new["name"], new["state"]) == ("broken", "quarantined")
    assert "no_such_library" in new["reason"]


async def test_data_files_are_listed_by_base_name(
    plugins: Plugins, client: httpx.AsyncClient
) -> None:
    response = await client.get("/plugin/orchard_plugin/files")

    assert response.json() == {"files": ["stages.yaml", "towns.csv"]}
    assert (
        response.headers["content-type"] == "application/vnd.flowdapt.ai.plugin.files.v1alpha1+json"
    )


async def test_an_accept_that_fits_nothing_is_answered(
    plugins: Plugins, client: httpx.AsyncClient
) -> None:
    headers = {
        "X-API-Version": "plugin.files.v1alpha1",
        "Accept": "application/vnd.flowdapt.ai.plugin_file.v1alpha1+json; q=1",
    }

    assert (await client.get("/plugin/orchard_plugin/files", headers=headers)).status_code == 200


@pytest.mark.parametrize("kind", ["plugin", "plugin.v9", "workflow.v1alpha1"])
async def test_files_have_a_kind_of_their_own(
    plugins: Plugins, client: httpx.AsyncClient, kind: str
) -> None:
    headers = {"X-API-Version": kind}

    assert (await client.get("/plugin/orchard_plugin/files", headers=headers)).status_code == 400


async def test_a_file_is_downloaded_as_bytes_and_nothing_else(
    plugins: Plugins, client: httpx.AsyncClient
) -> None:
    accept = {"Accept": "application/octet-stream; q=1"}

    response = await client.get("/plugin/orchard_plugin/files/stages.yaml", headers=accept)

    assert response.content == b"a: 1"
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == 'attachment; filename="stages.yaml"'


@pytest.mark.parametrize(
    "name",
    [
        "secret.csv",
        "gone.csv",
        "fixture.csv",
        "__init__.py",
        "RECORD",
        "..%2Fsecret.csv",
        "..%2F..%2F..%2Fetc%2Fpasswd",
        "%2Fetc%2Fpasswd",
        "data%2Ftowns.csv",
        "%2e%2e%2fsecret.csv",
    ],
)
async def test_nothing_but_what_is_listed_can_be_downloaded(
    plugins: Plugins, client: httpx.AsyncClient, name: str
) -> None:
    assert (await client.get(f"/plugin/orchard_plugin/files/{name}")).status_code == 404


@pytest.mark.parametrize("path", ["", "/files", "/files/stages.yaml"])
async def test_a_plugin_that_is_not_there_is_not_found(
    plugins: Plugins, client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(f"/plugin/nobody{path}")

    assert response.status_code == 404
    assert response.json()["detail"] == "no plugin named 'nobody'"


async def test_an_installation_in_place_has_what_its_manifest_chooses(
    site: Site, about: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "my checkout"
    for name in ("MANIFEST.in", "pkg/a.yaml", "pkg/b.csv", "pkg/tests/c.csv", "pkg/d.py"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("recursive-include pkg *.yaml *.csv *.py")
    url = checkout.as_uri()
    (about / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {"editable": True}}))

    (plugin,) = site.load().list()

    assert [*data_files(plugin)] == ["a.yaml", "b.csv"]


async def test_an_installation_in_place_without_a_manifest_has_what_its_package_holds(
    site: Site, about: Path
) -> None:
    direct = {"url": site.folder.as_uri(), "dir_info": {"editable": True}}
    (about / "direct_url.json").write_text(json.dumps(direct))

    (plugin,) = site.load().list()

    assert [*data_files(plugin)] == ["stages.yaml", "towns.csv"]


FILES = [PurePosixPath(p) for p in ("a.txt", "b.csv", "pkg/a.txt", "pkg/b.csv", "pkg/deep/a.txt")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["include *.txt"], ["a.txt"]),
        (["include pkg/*.txt b.csv"], ["b.csv", "pkg/a.txt"]),
        (["recursive-include pkg *.txt"], ["pkg/a.txt", "pkg/deep/a.txt"]),
        (["global-include *.txt"], ["a.txt", "pkg/a.txt", "pkg/deep/a.txt"]),
        (["global-include *", "global-exclude *.txt"], ["b.csv", "pkg/b.csv"]),
        (["global-include *", "recursive-exclude pkg *"], ["a.txt", "b.csv"]),
        (["global-include *.csv", "exclude pkg/b.csv  # why"], ["b.csv"]),
        (["global-exclude *", "include a.txt"], ["a.txt"]),
        (["# nothing", "", "graft", "recursive-include", "wrong *"], []),
    ],
)
def test_a_manifest_is_read_line_by_line(lines: list[str], expected: list[str]) -> None:
    assert sorted(map(str, chosen(lines, FILES))) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pkg/mytests.csv", True),
        ("pkg/data.py.csv", True),
        ("pkg/tests/a.csv", False),
        ("pkg/module.py", False),
        ("pkg/__pycache__/a.csv", False),
        ("pkg-1.dist-info/METADATA", False),
        ("../../bin/pkg", False),
        ("/etc/passwd", False),
    ],
)
def test_data_is_told_by_the_parts_of_a_path(path: str, expected: bool) -> None:
    assert is_data(PurePosixPath(path)) is expected
