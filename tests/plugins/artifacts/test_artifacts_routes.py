"""Artifacts over HTTP: which there are, their files, and that they go."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flowdapt_artifacts.artifact import Artifact
from flowdapt_cli.reading import settings
from flowdapt_rest.app import make_app
from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import Tokens

from flowdapt.context import Address, Places
from flowdapt.objects import attached
from flowdapt.plugins import Plugins
from flowdapt.server import Server
from tests.plugins.rest.replies import Replies

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Server]:
    overrides = ["services.compute.executor.target=inline", "rpc.api.max_body=100000"]
    read = settings.load(tmp_path / "app", "-", environ={}, overrides=overrides)
    async with Server(read, Plugins.load(safe_mode=True), only=frozenset()) as made:
        yield made


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(server)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    hooks: dict[str, Any] = {"response": [Replies.of(app).check]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://flowdapt", event_hooks=hooks
    ) as made:
        yield made


class Barn:
    """Where the server's artifacts are, reached as stages reach it."""

    def __init__(self, server: Server) -> None:
        assert server.places.artifacts is not None
        self.store: Any = attached(server.places.artifacts)
        self.app_dir = server.settings.app_dir

    def artifact(self, name: str, namespace: str = "default") -> Artifact:
        return Artifact.get_artifact(name, namespace, "file", str(self.app_dir), create=True)

    def save(self, name: str, value: Any, namespace: str = "default", **params: Any) -> None:
        self.store.save(namespace, name, value, hook=None, **params)


@pytest.fixture
def barn(server: Server) -> Barn:
    return Barn(server)


# What there is -------------------------------------------------------------------------------


async def test_artifacts_are_listed_part_by_part(client: httpx.AsyncClient, barn: Barn) -> None:
    for namespace, name in (("farm", "soil"), ("default", "soil"), ("default", "sky")):
        barn.save(name, [1, 2], namespace)

    first = (await client.get("/artifacts?limit=2")).json()
    second = (await client.get("/artifacts", params={"after": first["next"]})).json()

    found = [(one["namespace"], one["name"]) for one in first["artifacts"]]
    assert found == [("default", "sky"), ("default", "soil")]
    (last,) = second["artifacts"]
    assert (last["namespace"], last["type"], second["next"]) == ("farm", "list", None)
    assert last["size"] > 0
    assert last["saved"]


async def test_artifacts_are_chosen_by_namespace_and_prefix(
    client: httpx.AsyncClient, barn: Barn
) -> None:
    for name in ("soil", "sky", "sea"):
        barn.save(name, 1)
    barn.save("sky", 1, "farm")

    async def names(query: str) -> list[str]:
        page = (await client.get(f"/artifacts?{query}")).json()
        return [one["name"] for one in page["artifacts"]]

    assert await names("namespace=default&prefix=s") == ["sea", "sky", "soil"]
    assert await names("namespace=farm") == ["sky"]
    assert await names("prefix=so") == ["soil"]
    assert await names("namespace=a.b") == []


async def test_an_artifact_is_told_with_files_metadata_and_versions(
    client: httpx.AsyncClient, barn: Barn
) -> None:
    artifact = barn.artifact("soil", "farm")
    for depth in (1, 2):
        with artifact.transaction(keep=1):
            artifact.new_file(f"{depth}.txt", "x" * depth)
            artifact.set_meta("depth", depth)

    newest = (await client.get("/artifacts/farm/soil")).json()
    before = (await client.get(f"/artifacts/farm/soil?version={newest['versions'][0]}")).json()

    files = [{"name": "1.txt", "size": 1}, {"name": "2.txt", "size": 2}]
    assert (newest["files"], newest["size"], newest["metadata"]) == (files, 3, {"depth": 2})
    assert (before["files"], before["metadata"]) == (files[:1], {"depth": 1})
    assert newest["versions"] == [before["version"], newest["version"]]
    assert newest["uri"] == artifact.uri


async def test_what_an_earlier_release_wrote_is_told_as_well_as_can_be(
    client: httpx.AsyncClient, barn: Barn
) -> None:
    folder = barn.app_dir / "artifacts" / "default" / "old"
    folder.mkdir(parents=True)
    (folder / "object.pkl").write_bytes(b"four")

    found = (await client.get("/artifacts/default/old")).json()

    assert found["files"] == [{"name": "object.pkl", "size": 4}]
    assert (found["size"], found["version"], found["saved"]) == (4, 0, None)


@pytest.mark.parametrize("path", ["default/soil", "default/a.b", "a.b/soil"])
async def test_one_that_there_is_not_is_named(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "DELETE"):
        response = await client.request(method, f"/artifacts/{path}")

        assert response.status_code == 404
        assert response.json()["detail"] == f"no artifact named {path!r}"


async def test_a_version_that_is_not_kept_is_named(client: httpx.AsyncClient, barn: Barn) -> None:
    barn.save("soil", 1)

    response = await client.get("/artifacts/default/soil?version=7")

    assert response.status_code == 404
    assert response.json()["detail"] == "no artifact named 'default/soil version 7'"


# Files ---------------------------------------------------------------------------------------


async def test_a_file_is_read_as_it_is(client: httpx.AsyncClient, barn: Barn) -> None:
    barn.artifact("soil").new_file("a b.bin", b"\x00\xff{}")

    response = await client.get("/artifacts/default/soil/files/a%20b.bin")

    assert response.content == b"\x00\xff{}"
    assert response.headers["content-type"] == "application/octet-stream"
    missing = await client.get("/artifacts/default/soil/files/c")
    assert missing.json()["detail"] == "no artifact file named 'default/soil/c'"


async def test_a_file_of_an_earlier_version_is_read(client: httpx.AsyncClient, barn: Barn) -> None:
    for value in (1, 2):
        barn.save("soil", value, keep=1)
    found = (await client.get("/artifacts/default/soil")).json()
    (file,) = (file["name"] for file in found["files"])

    path = f"/artifacts/default/soil/files/{file}"
    before = await client.get(path, params={"version": found["versions"][0]})

    assert pickle.loads(before.content) == 1
    assert pickle.loads((await client.get(path)).content) == 2


async def test_a_file_that_was_harmed_is_not_handed_on(
    client: httpx.AsyncClient, barn: Barn
) -> None:
    barn.artifact("soil").new_file("a", b"sound")
    (barn.app_dir / "artifacts" / "default" / "soil" / "a").write_bytes(b"worse")

    response = await client.get("/artifacts/default/soil/files/a")

    assert response.status_code == 500
    assert "is corrupt: its file 'a'" in response.json()["detail"]


async def test_a_file_is_written_as_a_version_of_its_own(
    client: httpx.AsyncClient, barn: Barn
) -> None:
    first = await client.put("/artifacts/farm/soil/files/a", content=b"one")
    second = await client.put("/artifacts/farm/soil/files/b", content=b"")
    third = await client.put("/artifacts/farm/soil/files/a", content=b"three")

    versions = [response.json()["version"] for response in (first, second, third)]
    assert versions == sorted({*versions})
    assert third.json()["files"] == [{"name": "a", "size": 5}, {"name": "b", "size": 0}]
    assert barn.artifact("soil", "farm").get_file("a").read() == b"three"


@pytest.mark.parametrize("path", ["a.b/soil/files/a", "farm/a.b/files/a", "farm/soil/files/.a"])
async def test_what_is_no_name_is_not_written(
    client: httpx.AsyncClient, barn: Barn, path: str
) -> None:
    response = await client.put(f"/artifacts/{path}", content=b"x")

    assert response.status_code == 400
    assert "is no name for a" in response.json()["detail"]
    assert (await client.get("/artifacts")).json()["artifacts"] == []


async def test_a_file_beyond_the_limit_of_bodies_is_refused(
    client: httpx.AsyncClient, barn: Barn
) -> None:
    response = await client.put("/artifacts/farm/soil/files/a", content=bytes(100_001))

    assert response.status_code == 413
    assert [*barn.store.list()] == []


# Removing, and who may -----------------------------------------------------------------------


async def test_an_artifact_is_removed_also_if_it_is_corrupt(
    client: httpx.AsyncClient, barn: Barn
) -> None:
    barn.save("soil", 1)
    (barn.app_dir / "artifacts" / "default" / "soil" / ".artifact.json").write_text("{")

    response = await client.delete("/artifacts/default/soil")

    assert response.json() == {"namespace": "default", "name": "soil"}
    assert (await client.get("/artifacts/default/soil")).status_code == 404


async def test_reading_removing_and_writing_need_more_and_more(
    client: httpx.AsyncClient, server: Server, barn: Barn
) -> None:
    barn.save("soil", 1)
    tokens = Tokens(server.storage)
    headers = {
        role: {"Authorization": f"Bearer {(await tokens.create(role, role))[1]}"}
        for role in (Role.READ, Role.OPERATE, Role.ADMIN)
    }

    async def status(role: Role, method: str, path: str) -> int:
        return (await client.request(method, path, headers=headers[role])).status_code

    one, file = "/artifacts/default/soil", "/artifacts/default/soil/files/a"
    assert await status(Role.READ, "GET", one) == 200
    assert await status(Role.READ, "DELETE", one) == 403
    assert await status(Role.OPERATE, "PUT", file) == 403
    assert await status(Role.ADMIN, "PUT", file) == 200
    assert await status(Role.OPERATE, "DELETE", one) == 200


async def test_the_routes_are_described(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    file = document["paths"]["/artifacts/{namespace}/{artifact}/files/{file}"]
    assert file.keys() == {"get", "put"}
    assert file["put"]["requestBody"]["content"].keys() == {"application/octet-stream"}


async def test_artifacts_of_another_plugin_have_no_routes_of_ours(server: Server) -> None:
    server.places = Places(server.places.memory, Address("stranger.barn:Barn"))
    transport = httpx.ASGITransport(make_app(server), raise_app_exceptions=False)

    async with httpx.AsyncClient(transport=transport, base_url="http://flowdapt") as client:
        assert (await client.get("/artifacts")).status_code == 404
        assert (await client.get("/objects?place=memory")).status_code == 200
