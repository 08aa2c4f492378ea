"""What changes of resources leave behind, and changes that depend on what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import Tokens

from tests.plugins.rest.listening import listening

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

V1 = {"X-API-Version": "config.v1"}


def config(name: str = "soil", **data: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"data": data}}


@pytest.fixture
async def changed(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client, and a config that was changed twice."""
    await client.post("/configs/", json=config(n=1))
    for n in (2, 3):
        assert (await client.put("/configs/soil", json=config(n=n))).status_code == 200
    return client


async def data(client: httpx.AsyncClient, name: str = "soil") -> Any:
    return (await client.get(f"/configs/{name}")).json()["spec"]["data"]


# History


async def test_every_change_is_a_revision(changed: httpx.AsyncClient) -> None:
    history = (await changed.get("/configs/soil/history")).json()

    assert [r["generation"] for r in history] == [1, 2, 3]
    assert [r["change"] for r in history] == ["created", "changed", "changed"]
    assert [r["resource"]["spec"]["data"]["n"] for r in history] == [1, 2, 3]


async def test_a_revision_names_the_token_that_made_it(
    client: httpx.AsyncClient, server: Server
) -> None:
    _, text = await Tokens(server.storage).create("gardener", Role.ADMIN)
    await client.post("/configs/", json=config(), headers={"Authorization": f"Bearer {text}"})
    await client.put("/configs/soil", json=config(n=1))

    history = (await client.get("/configs/soil/history")).json()

    assert [r["actor"] for r in history] == ["gardener", ""]


async def test_a_resource_that_was_deleted_has_a_history(changed: httpx.AsyncClient) -> None:
    uid = (await changed.delete("/configs/soil")).json()["metadata"]["uid"]

    by_name = (await changed.get("/configs/soil/history")).json()

    assert [r["change"] for r in by_name] == ["created", "changed", "changed", "deleted"]
    assert (await changed.get(f"/configs/{uid}/history")).json() == by_name
    assert (await changed.get("/configs/never/history")).status_code == 404


async def test_a_history_follows_a_resource_under_its_new_name(changed: httpx.AsyncClient) -> None:
    await changed.put("/configs/soil", json=config("earth", n=4))

    assert len((await changed.get("/configs/earth/history")).json()) == 4


# Going back


async def test_going_back_makes_a_new_revision_like_an_old_one(changed: httpx.AsyncClient) -> None:
    back = (await changed.post("/configs/soil/rollback?to=1", headers=V1)).json()

    assert (back["spec"]["data"], back["metadata"]["generation"]) == ({"n": 1}, 4)
    assert await data(changed) == {"n": 1}


async def test_going_back_goes_to_the_revision_before(changed: httpx.AsyncClient) -> None:
    await changed.post("/configs/soil/rollback")

    assert await data(changed) == {"n": 2}


async def test_what_was_deleted_comes_back(changed: httpx.AsyncClient) -> None:
    await changed.delete("/configs/soil")

    assert (await changed.post("/configs/soil/rollback")).status_code == 200

    assert await data(changed) == {"n": 3}


async def test_a_revision_that_there_is_not_is_refused(changed: httpx.AsyncClient) -> None:
    response = await changed.post("/configs/soil/rollback?to=9")

    assert response.status_code == 404
    assert "there are: 1, 2" in response.json()["detail"]
    assert await data(changed) == {"n": 3}


async def test_a_resource_that_was_never_changed_cannot_go_back(client: httpx.AsyncClient) -> None:
    await client.post("/configs/", json=config(n=1))

    assert (await client.post("/configs/soil/rollback")).status_code == 404


async def test_where_no_revision_is_kept_there_is_nothing_to_go_back_to(
    changed: httpx.AsyncClient, server: Server
) -> None:
    await changed.post("/configs/", json=config("other"))  # the very last event may stay
    await server.storage.trim_events("resources", 0, limit=100)

    response = await changed.post("/configs/soil/rollback")

    assert response.status_code == 404
    assert response.json()["detail"] == "no revision of config 'soil' is kept"


# Changes that are meant for one generation


async def test_a_reply_names_the_generation(changed: httpx.AsyncClient) -> None:
    assert (await changed.get("/configs/soil")).headers["etag"] == '"3"'
    assert (await changed.put("/configs/soil", json=config())).headers["etag"] == '"4"'
    assert (await changed.post("/configs/", json=config("b"))).headers["etag"] == '"1"'


async def test_a_change_of_what_is_still_there_is_stored(changed: httpx.AsyncClient) -> None:
    for etag in ('"3"', "*"):
        response = await changed.put("/configs/soil", json=config(), headers={"If-Match": etag})
        assert response.status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_change_of_what_somebody_changed_says_what_is_different(
    changed: httpx.AsyncClient, method: str
) -> None:
    await changed.put("/configs/soil", json=config(n=3, wet=True))
    body = config() if method == "PUT" else None

    response = await changed.request(
        method, "/configs/soil", headers={"If-Match": '"1"'}, json=body
    )

    assert response.status_code == 409
    assert "generation 4, not 1" in response.json()["detail"]
    assert response.json()["errors"] == [
        {"loc": ["spec", "data", "n"], "msg": "was 1, is 3", "type": "changed"},
        {"loc": ["spec", "data", "wet"], "msg": "was added: true", "type": "added"},
    ]
    assert await data(changed) == {"n": 3, "wet": True}


async def test_a_generation_that_is_not_known_is_refused_all_the_same(
    changed: httpx.AsyncClient,
) -> None:
    response = await changed.delete("/configs/soil", headers={"If-Match": '"77"'})

    assert response.status_code == 409
    assert "errors" not in response.json()


async def test_what_is_no_generation_is_refused(changed: httpx.AsyncClient) -> None:
    response = await changed.delete("/configs/soil", headers={"If-Match": "three"})

    assert response.status_code == 400
    assert "If-Match" in response.json()["detail"]
    assert await data(changed) == {"n": 3}


# Changes that are only checked


async def test_what_is_only_checked_is_not_stored(changed: httpx.AsyncClient) -> None:
    created = await changed.post("/configs/?dryRun=All", json=config("new"))
    replaced = await changed.put("/configs/soil?dryRun=All", json=config(n=9), headers=V1)
    deleted = await changed.delete("/configs/soil?dryRun=All")

    assert [r.status_code for r in (created, replaced, deleted)] == [200, 200, 200]
    assert (replaced.json()["spec"]["data"], replaced.json()["metadata"]["generation"]) == (
        {"n": 9},
        4,
    )
    assert await data(changed) == {"n": 3}
    assert [r["metadata"]["name"] for r in (await changed.get("/configs/")).json()] == ["soil"]
    assert len((await changed.get("/configs/soil/history")).json()) == 3


async def test_what_is_only_checked_is_refused_as_it_would_be(changed: httpx.AsyncClient) -> None:
    taken = await changed.post("/configs/?dryRun=All", json=config())
    invalid = await changed.post("/configs/?dryRun=All", json={"metadata": {"name": ""}})
    missing = await changed.put("/configs/none?dryRun=All", json=config())
    unknown = await changed.post("/configs/?dryRun=Some", json=config("b"))

    assert [r.status_code for r in (taken, invalid, missing, unknown)] == [400, 400, 404, 422]


# Watching


async def test_changes_of_a_kind_are_watched(live: httpx.AsyncClient) -> None:
    async with listening(live, "/configs/?watch=true") as listener:
        await live.post("/gardens/", json={"metadata": {"name": "g"}, "spec": {}})
        await live.post("/configs/", json=config(n=1))
        await live.put("/configs/soil", json=config(n=2))
        await live.delete("/configs/soil")
        messages = [await listener.next() for _ in range(3)]

    assert [m.event.rpartition(".")[2] for m in messages] == ["created", "changed", "deleted"]
    assert [m.data["data"]["resource"]["spec"]["data"]["n"] for m in messages] == [1, 2, 2]


async def test_one_resource_is_watched(live: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await live.post("/configs/", json=config(name))
    async with listening(live, "/configs/b?watch=true") as listener:
        for name in ("a", "b"):
            await live.put(f"/configs/{name}", json=config(name, n=1))
        assert (await listener.next()).data["data"]["name"] == "b"


async def test_head_does_not_watch(live: httpx.AsyncClient) -> None:
    assert (await live.head("/configs/?watch=true")).status_code == 200


async def test_who_watches_again_misses_nothing(live: httpx.AsyncClient) -> None:
    async with listening(live, "/configs/?watch=true") as listener:
        last = listener.last_id
    await live.post("/configs/", json=config("between"))

    async with listening(live, "/configs/?watch=true", after=last) as listener:
        assert (await listener.next()).data["data"]["name"] == "between"
