"""Resources, and what only administrators do."""

from __future__ import annotations

from typing import Any, assert_type

import pytest

from flowdapt.client import AsyncClient, Client, NoServer, Refused, Run, Unreadable
from flowdapt.errors import InvalidInput, InvalidResource, ResourceNotFound
from flowdapt.resources import Config, Workflow

from .conftest import WORKFLOW
from .standin import StandIn, now


def config(depth: int = 1, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "farm", "annotations": annotations}
    return {"kind": "config", "metadata": metadata, "spec": {"data": {"depth": depth}}}


def test_resources_come_as_models_of_the_kernel(client: Client) -> None:
    assert [workflow.name for workflow in client.workflows.list()] == ["fruit"]
    assert isinstance(client.workflows.get("fruit"), Workflow)
    assert_type(client.workflows.get("fruit"), Workflow)
    assert_type(client.resources(Config).get("farm") if False else None, Config | None)


def test_a_resource_is_created_read_replaced_and_deleted(client: Client) -> None:
    made = client.configs.create(config(1))
    changed = client.configs.replace("farm", made.noting(annotations={"a": "b"}))

    assert client.configs.get(made.metadata.uid) == changed
    assert client.configs.delete("farm") == changed
    with pytest.raises(ResourceNotFound, match="no config named 'farm'"):
        client.configs.get("farm")


def test_apply_says_what_it_came_to(client: Client, server: StandIn) -> None:
    first = client.configs.apply(config(1))
    again = client.configs.apply(Config.parse(config(1), where="here"))
    third = client.configs.apply(config(2))

    assert [one.verdict for one in (first, again, third)] == ["created", "unchanged", "changed"]
    assert first.before is None
    assert third.before is not None
    assert third.before.spec.data == {"depth": 1}
    assert third.resource.metadata.generation == 2


def test_annotations_of_the_servers_own_do_not_count_as_a_change(
    client: Client, server: StandIn
) -> None:
    server.put(config(1, **{"flowdapt.ai/last_run": "now"}))

    assert client.configs.apply(config(1)).verdict == "unchanged"


def test_a_dry_run_stores_nothing(client: Client) -> None:
    client.configs.create(config(1))

    applied = client.configs.apply(config(2), dry_run=True)
    client.configs.delete("farm", dry_run=True)

    assert (applied.verdict, applied.resource.spec.data) == ("changed", {"depth": 2})
    assert client.configs.get("farm").spec.data == {"depth": 1}


def test_a_change_that_somebody_else_made_is_not_overwritten(client: Client) -> None:
    read = client.configs.create(config(1))
    client.configs.replace("farm", config(2))

    with pytest.raises(Refused, match="changed meanwhile") as raised:
        client.configs.replace("farm", config(3), if_match=read.metadata.generation)

    assert (raised.value.status, raised.value.errors[0]["loc"]) == (409, ["spec", "data"])


def test_what_is_no_resource_is_not_sent(client: Client, server: StandIn) -> None:
    with pytest.raises(InvalidResource, match="spec.dat: unknown field"):
        client.configs.apply({"metadata": {"name": "farm"}, "spec": {"data": {}, "dat": 1}})

    assert server.seen == []


def test_history_and_rollback(client: Client) -> None:
    client.configs.create(config(1))
    client.configs.replace("farm", config(2))

    back = client.configs.rollback("farm", to=1)
    history = client.configs.history("farm")

    assert back.spec.data == {"depth": 1}
    assert [(one.generation, one.change, one.actor) for one in history] == [
        (1, "created", "ada"),
        (2, "changed", "ada"),
        (3, "changed", "ada"),
    ]
    assert history[1].resource is not None
    assert history[1].resource.spec.data == {"depth": 2}


def test_secrets_are_set_listed_and_deleted(client: Client, server: StandIn) -> None:
    client.secrets.set("key", "s3cret")

    assert [secret.name for secret in client.secrets.list()] == ["key"]
    assert server.secrets == {"key": "s3cret"}
    client.secrets.delete("key")
    with pytest.raises(ResourceNotFound, match="no secret named 'key'"):
        client.secrets.delete("key")


def test_the_audit_trail_is_read_page_by_page(client: Client, server: StandIn) -> None:
    server.entries = [
        {
            "position": position,
            "time": now(),
            "actor": "ada" if position % 2 else "bob",
            "method": "PUT",
            "path": "/configs/farm",
            "operation": "update_config",
            "status": 200,
            "address": "127.0.0.1",
        }
        for position in range(1, 6)
    ]

    assert [entry.position for entry in client.audit.list()] == [1, 2, 3, 4, 5]
    assert [entry.position for entry in client.audit.list(actor="bob", after=2)] == [4]


def test_a_server_is_drained_and_says_so(client: Client) -> None:
    client.drain()
    assert client.status().draining
    client.undrain()
    assert not client.status().draining


def test_any_request_is_possible(client: Client, server: StandIn) -> None:
    found = client.request("GET", "/workflows/", query={"a": [1, 2], "b": None}, kind="workflow")

    assert found[0]["metadata"]["name"] == "fruit"
    assert server.seen[-1].headers["x-api-version"] == "workflow.v1"
    assert server.seen[-1].url.query == "a=1&a=2"


@pytest.mark.parametrize("where", ["option", "password", "user"])
def test_a_token_is_sent_and_never_told(server: StandIn, where: str) -> None:
    server.token = "s3cret"
    host = server.address.removeprefix("http://")
    address = {"option": host, "password": f":s3cret@{host}", "user": f"http://s3cret@{host}"}

    with Client(address[where], token="s3cret" if where == "option" else None) as client:
        assert client.status().name == "flowdapt.stand-in"
        assert client.address == server.address
        assert "s3cret" not in repr(vars(client))


def test_a_refusal_carries_status_and_detail(client: Client, server: StandIn) -> None:
    server.token = "other"

    with pytest.raises(Refused) as raised:
        client.status()

    assert str(raised.value) == "the server refused: no valid token"
    assert raised.value.status == 401


def test_an_answer_of_another_shape_says_where_it_differs(client: Client, server: StandIn) -> None:
    server.runs.append({"name": "x", "uid": "y", "state": "running", "started_at": now()})

    with pytest.raises(Unreadable, match="cannot read as Run: uid"):
        client.runs.get("x")


def test_what_json_has_no_word_for_is_not_sent(client: Client, server: StandIn) -> None:
    for value in (float("nan"), object()):
        with pytest.raises(InvalidInput, match="what is to be sent is no JSON"):
            client.runs.start("fruit", {"n": value})

    assert server.seen == []


def test_an_address_that_is_none_is_named() -> None:
    for address in ("http://farm:port", "ftp://farm", "http://"):
        with pytest.raises(Exception, match="is no address of a server"):
            Client(address)


@pytest.mark.anyio
async def test_the_same_calls_are_awaited(awaited: AsyncClient) -> None:
    assert (await awaited.configs.apply(config(1))).verdict == "created"
    assert [one.name for one in await awaited.workflows.list()] == ["fruit"]
    assert (await awaited.status()).version == "1.0.0"
    assert_type(await awaited.workflows.get("fruit"), Workflow)
    assert_type(await awaited.runs.start("fruit"), Run)


@pytest.mark.anyio
async def test_nobody_there_is_said_to_who_awaits_too() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(NoServer):
            await client.status()


def test_the_calls_explain_themselves(client: Client) -> None:
    assert "Create a resource, or replace" in (client.workflows.apply.__doc__ or "")
    assert WORKFLOW["kind"] == "workflow"
