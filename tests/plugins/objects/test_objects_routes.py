"""Objects over HTTP: which there are and how large, and that they go."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from flowdapt_cli.reading import settings
from flowdapt_memory.shm import ShmMemory
from flowdapt_objects.stock import Stock
from flowdapt_rest.app import make_app
from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import Tokens

from flowdapt.context import Address, Places
from flowdapt.objects import attached
from flowdapt.plugins import Plugins
from flowdapt.server import Server
from tests.plugins.rest.replies import Replies

pytestmark = pytest.mark.anyio

Put = Callable[..., None]


@pytest.fixture
async def server(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Server]:
    overrides = ["services.compute.executor.target=inline", "memory.capacity=8MiB"]
    read = settings.load(tmp_path / "app", "-", environ={}, overrides=overrides)
    async with Server(read, Plugins.load(safe_mode=True), only=frozenset()) as made:
        options = json.dumps({"folder": str(tmp_path / "shelf")})
        shelf = Address("tests.plugins.objects.shelf:Shelf", options)
        made.places = Places(made.places.memory, shelf)
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


@pytest.fixture
def put(server: Server) -> Put:
    """Keep so many bytes in the memory."""

    def put(key: str, size: int = 10, namespace: str = "default", **facts: Any) -> None:
        assert server.memory is not None
        server.memory.put(namespace, key, [bytes(size)], size=size, **facts)

    return put


@pytest.fixture
def save(server: Server) -> Put:
    """Keep an artifact."""

    def save(key: str, namespace: str = "default") -> None:
        assert server.places.artifacts is not None
        attached(server.places.artifacts).save(namespace, key, b"kept", hook=None)

    return save


async def listed(client: httpx.AsyncClient, query: str = "") -> list[tuple[str, ...]]:
    response = await client.get(f"/objects?{query}")
    assert response.status_code == 200, response.text
    return [(one["namespace"], one["key"], one["place"]) for one in response.json()["objects"]]


# Listing -------------------------------------------------------------------------------------


async def test_objects_of_memory_and_artifacts_are_listed_in_order(
    client: httpx.AsyncClient, put: Put, save: Put
) -> None:
    put("b")
    put("a", namespace="farm")
    save("c", namespace="barn")
    save("b")

    assert await listed(client) == [
        ("barn", "c", "artifact"),
        ("default", "b", "artifact"),
        ("default", "b", "memory"),
        ("farm", "a", "memory"),
    ]


async def test_what_is_known_of_an_object_is_told(client: httpx.AsyncClient, put: Put) -> None:
    put("soil", 1000, type="numpy.ndarray", ttl=3600)

    (found,) = (await client.get("/objects")).json()["objects"]

    assert found.pop("created") < found.pop("expires")
    assert found == {
        "namespace": "default",
        "key": "soil",
        "place": "memory",
        "size": 1000,
        "type": "numpy.ndarray",
    }


async def test_one_that_expires_never_or_later_than_any_date_has_no_such_time(
    client: httpx.AsyncClient, put: Put, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("never")
    put("late", ttl=1e12)

    found = (await client.get("/objects")).json()["objects"]

    assert [(one["key"], one["expires"]) for one in found] == [("late", None), ("never", None)]


async def test_objects_are_chosen_by_namespace_prefix_and_place(
    client: httpx.AsyncClient, put: Put, save: Put
) -> None:
    for key in ("soil", "soil.old", "sky"):
        put(key)
    put("soil", namespace="farm")
    put("huge", 9 * 2**20)  # more than the memory may take
    save("soil")

    assert await listed(client, "namespace=farm") == [("farm", "soil", "memory")]
    assert await listed(client, "prefix=soil&place=memory&namespace=default") == [
        ("default", "soil", "memory"),
        ("default", "soil.old", "memory"),
    ]
    assert await listed(client, "place=artifact,disk") == [
        ("default", "huge", "disk"),
        ("default", "soil", "artifact"),
    ]


async def test_a_list_is_read_part_by_part(client: httpx.AsyncClient, put: Put, save: Put) -> None:
    keys = ["a/b", "a b", "ü", "soil", "%2F"]
    for key in keys:
        put(key, namespace="the/farm")
    save("soil", namespace="zoo")
    put("soil", namespace="zoo")

    found: list[tuple[str, str]] = []
    after: str | None = ""
    while after is not None:
        page = (await client.get("/objects", params={"limit": 2, "after": after})).json()
        assert len(page["objects"]) <= 2
        found += [(one["key"], one["place"]) for one in page["objects"]]
        after = page["next"]

    whole = [(key, "memory") for key in sorted(keys)]
    assert found == [*whole, ("soil", "artifact"), ("soil", "memory")]


async def test_what_runs_hold_for_themselves_is_nobodys_object(
    client: httpx.AsyncClient, put: Put
) -> None:
    put("1-1", namespace=".run-1")

    assert await listed(client) == []
    assert await listed(client, "namespace=.run-1") == []
    assert (await client.get("/objects/.run-1/1-1")).status_code == 404
    assert (await client.delete("/objects/.run-1/1-1")).status_code == 404


async def test_a_place_that_there_is_not_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.get("/objects?place=cellar")

    assert response.status_code == 422
    assert "'memory', 'disk', 'artifact'" in response.json()["detail"]


async def test_artifacts_that_cannot_be_reached_are_left_out_and_that_is_logged(
    client: httpx.AsyncClient, put: Put, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    put("soil")
    server.places = Places(server.places.memory, Address("no_such_module:Store"))

    assert await listed(client) == [("default", "soil", "memory")]
    assert "artifacts are left out of what is told of objects" in caplog.text


# One object ----------------------------------------------------------------------------------


async def test_an_object_is_found_in_every_place_where_it_is(
    client: httpx.AsyncClient, put: Put, save: Put
) -> None:
    put("soil", 1000)
    save("soil")
    put("soil2")

    found = (await client.get("/objects/default/soil")).json()

    assert [(one["key"], one["place"]) for one in found] == [
        ("soil", "artifact"),
        ("soil", "memory"),
    ]


@pytest.mark.parametrize("key", ["a/b", "a b", "ü", "a%2Fb", "stats"])
async def test_a_key_may_have_any_characters(client: httpx.AsyncClient, put: Put, key: str) -> None:
    put(key)

    assert await listed(client) == [("default", key, "memory")]
    path = f"/objects/default/{httpx.URL('/', params={'k': key}).query.decode()[2:]}"
    (found,) = (await client.get(path.replace("+", "%20"))).json()
    assert found["key"] == key


async def test_deleting_removes_an_object_from_every_place_and_tells_what_it_was(
    client: httpx.AsyncClient, put: Put, save: Put
) -> None:
    put("soil")
    save("soil")
    put("sky")

    deleted = await client.delete("/objects/default/soil")

    assert [one["place"] for one in deleted.json()] == ["artifact", "memory"]
    assert await listed(client) == [("default", "sky", "memory")]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["default/soil", "nowhere/soil", "default/", f"x/{'y' * 2000}"])
async def test_one_that_there_is_not_is_named(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, f"/objects/{path}")

    assert response.status_code == 404
    assert response.json()["detail"] == f"no object named {path!r}"


# How much there is ---------------------------------------------------------------------------


async def test_stats_tell_how_full_the_memory_is_and_what_namespaces_come_to(
    client: httpx.AsyncClient, put: Put, save: Put
) -> None:
    put("soil", 100_000)
    put("huge", 9 * 2**20)
    put("soil", 2 * 2**20, namespace="farm")
    put("soil", 3 * 2**20, namespace="farm")  # which leaves the first one free
    save("soil", namespace="farm")
    put("1-1", 10, namespace=".run-1")

    stats = (await client.get("/objects/stats")).json()

    assert stats["capacity"] == 8 * 2**20
    assert 5 * 2**20 < stats["used"] < 6 * 2**20
    assert 2 * 2**20 <= stats["free"] < 3 * 2**20
    assert 9 * 2**20 <= stats["on_disk"] < 10 * 2**20
    assert stats["objects"] == 4
    default, farm = stats["namespaces"]
    assert default == {
        "namespace": "default",
        "objects": 2,
        "memory": 100_000,
        "disk": 9 * 2**20,
        "artifact": 0,
    }
    assert (farm["namespace"], farm["objects"], farm["memory"]) == ("farm", 2, 3 * 2**20)
    assert farm["artifact"] > 0


async def test_a_file_that_goes_while_memory_is_counted_does_not_count(
    server: Server, put: Put
) -> None:
    memory = server.memory
    assert isinstance(memory, ShmMemory)
    put("soil")
    for folder in (f"{memory.arena.objects}/default", memory.arena.free):
        os.symlink("nowhere", f"{folder}/gone")  # the names are read, and then it is not there

    assert memory.stats()["objects"] == 1


async def test_without_a_memory_only_artifacts_are_known(
    client: httpx.AsyncClient, server: Server, save: Put
) -> None:
    before, server.memory = server.memory, None
    save("soil")

    stats = (await client.get("/objects/stats")).json()

    server.memory = before
    assert stats["capacity"] is None
    assert [one["objects"] for one in stats["namespaces"]] == [1]


# Who may -------------------------------------------------------------------------------------


async def test_reading_needs_a_role_less_than_deleting_which_leaves_a_trail(
    client: httpx.AsyncClient, server: Server, put: Put
) -> None:
    put("soil")
    tokens = Tokens(server.storage)
    headers = {
        role: {"Authorization": f"Bearer {(await tokens.create(role, role))[1]}"}
        for role in (Role.READ, Role.OPERATE, Role.ADMIN)
    }

    read = await client.get("/objects/default/soil", headers=headers[Role.READ])
    refused = await client.delete("/objects/default/soil", headers=headers[Role.READ])
    deleted = await client.delete("/objects/default/soil", headers=headers[Role.OPERATE])
    audit = (await client.get("/audit", headers=headers[Role.ADMIN])).json()["entries"]

    assert [one.status_code for one in (read, refused, deleted)] == [200, 403, 200]
    trail = [(one["actor"], one["operation"], one["path"], one["status"]) for one in audit]
    assert trail == [
        ("read", "delete_object", "/objects/default/soil", 403),
        ("operate", "delete_object", "/objects/default/soil", 200),
    ]


async def test_another_version_is_refused_before_anything_is_deleted(
    client: httpx.AsyncClient, put: Put
) -> None:
    put("soil")

    response = await client.delete(
        "/objects/default/soil", headers={"X-API-Version": "object.v1alpha1"}
    )

    assert response.status_code == 400
    assert len(await listed(client)) == 1


async def test_the_routes_are_described(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    one = paths["/objects/{namespace}/{key}"]
    assert one.keys() == {"get", "delete"}
    assert one["delete"]["x-role"] == "operate"
    names = [parameter["name"] for parameter in paths["/objects"]["get"]["parameters"]]
    assert names[:5] == ["namespace", "prefix", "place", "limit", "after"]


async def test_a_value_is_listed_and_never_unpickled(
    client: httpx.AsyncClient, server: Server
) -> None:
    assert server.memory is not None
    server.memory.put("default", "trap", [b"no payload at all"], size=17, type="farm.Trap")

    assert await listed(client) == [("default", "trap", "memory")]
    assert (await client.delete("/objects/default/trap")).status_code == 200


async def test_a_namespace_of_many_objects_is_listed_by_the_first_of_them(
    server: Server, put: Put
) -> None:
    for number in range(300):
        put(f"{number:03}")

    found = Stock(server).list("default", limit=2, after=("default", "100"))

    assert [entry.key for entry in found] == ["100", "101"]
