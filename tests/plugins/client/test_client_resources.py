"""Resources, and what only administrators do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, assert_type

import pytest
from flowdapt_client import keeping
from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import Tokens

from flowdapt.client import AsyncClient, BadAddress, Client, NoServer, Refused, Run, Unreadable
from flowdapt.errors import InvalidInput, InvalidResource, ResourceNotFound, SettingsError
from flowdapt.plugins import Plugins
from flowdapt.resources import Config, Workflow

from .serving import Served


class Farm:
    """A config with a name of its own."""

    def __init__(self) -> None:
        self.name = f"farm-{os.urandom(4).hex()}"

    def at(self, depth: int, **annotations: str) -> dict[str, Any]:
        """Return the config, one that differs by its depth."""
        metadata = {"name": self.name, "annotations": annotations}
        return {"kind": "config", "metadata": metadata, "spec": {"data": {"depth": depth}}}


@pytest.fixture
def farm() -> Farm:
    return Farm()


def test_resources_come_as_models_of_the_kernel(client: Client) -> None:
    assert {"echo", "fruit"} <= {workflow.name for workflow in client.workflows.list()}
    assert isinstance(client.workflows.get("fruit"), Workflow)
    assert_type(client.workflows.get("fruit"), Workflow)
    assert_type(client.resources(Config).list(), Sequence[Config])


def test_a_resource_is_created_read_replaced_and_deleted(client: Client, farm: Farm) -> None:
    made = client.configs.create(farm.at(1))
    changed = client.configs.replace(farm.name, made.noting(annotations={"a": "b"}))

    assert client.configs.get(made.metadata.uid) == changed
    assert client.configs.list(annotations={"a": "b"}) == [changed]
    assert client.configs.delete(farm.name) == changed
    with pytest.raises(ResourceNotFound, match=f"no config named '{farm.name}'"):
        client.configs.get(farm.name)


def test_apply_says_what_it_came_to(client: Client, farm: Farm) -> None:
    first = client.configs.apply(farm.at(1))
    again = client.configs.apply(Config.parse(farm.at(1), where="here"))
    third = client.configs.apply(farm.at(2))

    assert [one.verdict for one in (first, again, third)] == ["created", "unchanged", "changed"]
    assert first.before is None
    assert third.before is not None
    assert third.before.spec.data == {"depth": 1}
    assert third.resource.metadata.generation == 2


def test_annotations_of_the_servers_own_do_not_count_as_a_change(
    client: Client, farm: Farm
) -> None:
    client.configs.create(farm.at(1, **{"flowdapt.ai/last_run": "now"}))

    assert client.configs.apply(farm.at(1)).verdict == "unchanged"


def test_a_dry_run_stores_nothing(client: Client, farm: Farm) -> None:
    client.configs.create(farm.at(1))

    applied = client.configs.apply(farm.at(2), dry_run=True)
    client.configs.delete(farm.name, dry_run=True)

    assert (applied.verdict, applied.resource.spec.data) == ("changed", {"depth": 2})
    assert client.configs.get(farm.name).spec.data == {"depth": 1}


def test_a_change_that_somebody_else_made_is_not_overwritten(client: Client, farm: Farm) -> None:
    read = client.configs.create(farm.at(1))
    client.configs.replace(farm.name, farm.at(2))

    with pytest.raises(Refused) as raised:
        client.configs.replace(farm.name, farm.at(3), if_match=read.metadata.generation)

    assert raised.value.status == 409
    assert raised.value.errors[0]["loc"] == ["spec", "data", "depth"]
    assert client.configs.get(farm.name).spec.data == {"depth": 2}


def test_what_is_no_resource_is_not_sent(client: Client, farm: Farm) -> None:
    wrong = farm.at(1)
    wrong["spec"]["dat"] = 1

    with pytest.raises(InvalidResource, match=r"spec\.dat: unknown field"):
        client.configs.apply(wrong)


def test_history_and_rollback(client: Client, farm: Farm) -> None:
    client.configs.create(farm.at(1))
    client.configs.replace(farm.name, farm.at(2))

    back = client.configs.rollback(farm.name, to=1)
    history = client.configs.history(farm.name)

    assert back.spec.data == {"depth": 1}
    assert [(one.generation, one.change) for one in history] == [
        (1, "created"),
        (2, "changed"),
        (3, "changed"),
    ]
    assert_type(history[1].resource, Config | None)
    assert history[1].resource is not None
    assert history[1].resource.spec.data == {"depth": 2}


def test_a_missing_revision_is_not_taken_for_a_missing_resource(client: Client, farm: Farm) -> None:
    client.configs.create(farm.at(1))

    with pytest.raises(Refused, match="has no such revision"):
        client.configs.rollback(farm.name, to=7)
    with pytest.raises(ResourceNotFound, match="no config named 'nowhere'"):
        client.configs.history("nowhere")


def test_secrets_are_set_listed_and_deleted(client: Client) -> None:
    client.secrets.set("key", "s3cret")

    assert [secret.name for secret in client.secrets.list()] == ["key"]
    client.secrets.delete("key")
    with pytest.raises(ResourceNotFound, match="no secret named 'key'"):
        client.secrets.delete("key")


def test_the_audit_trail_is_read_page_by_page(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "PAGE", 2)
    tokens = Tokens(served.server.storage)
    texts = {name: served.do(tokens.create(name, Role.ADMIN))[1] for name in ("ada", "bob")}
    for name in ("ada", "bob", "ada", "ada"):
        with Client(served.address, token=texts[name]) as client:
            client.undrain()

    with Client(served.address) as client:
        every = [*client.audit.list()]
        of_bob = [*client.audit.list(actor="bob")]
        newest = [*client.audit.list(order="newest")]
        last = [*client.audit.list(order="newest", limit=3)]

    assert [entry.actor for entry in every] == ["ada", "bob", "ada", "ada"]
    assert [(one.method, one.path, one.status) for one in of_bob] == [("DELETE", "/drain", 200)]
    assert newest == every[::-1]
    assert last == newest[:3]


def test_a_server_is_drained_and_says_so(client: Client) -> None:
    client.drain()
    assert client.status().draining
    client.undrain()
    assert not client.status().draining


def test_any_request_is_possible(client: Client) -> None:
    query = {"workflow": "nobody", "state": ["finished", "failed"], "until": None}

    assert client.request("GET", "/runs/", query=query) == {"runs": [], "next": None}
    assert "generation" in client.request("GET", "/workflows/echo", kind="workflow")["metadata"]


def test_a_token_is_sent_and_never_told(plugins: Plugins, tmp_path: Any) -> None:
    with Served(tmp_path, plugins, "rpc.api.require_token=true").running() as served:
        _, text = served.do(Tokens(served.server.storage).create("ada", Role.READ))
        host = served.address.removeprefix("http://")
        for address, token in (
            (host, text),
            (f":{text}@{host}", None),
            (f"http://{text}@{host}", None),
        ):
            with Client(address, token=token) as client:
                assert client.workflows.list() == []
                assert client.address == served.address
                assert text not in repr(vars(client))
                with pytest.raises(Refused, match="needs a token with the role") as raised:
                    client.drain()
                assert raised.value.status == 403


def test_an_answer_of_another_shape_says_where_it_differs() -> None:
    from flowdapt_client.reading import read

    with pytest.raises(Unreadable, match="cannot read as Run: uid"):
        read(Run, {"name": "x", "uid": "y", "workflow": "z"})


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_json_has_no_word_for_is_not_sent(client: Client, value: object) -> None:
    with pytest.raises(InvalidInput, match="what is to be sent is no JSON"):
        client.runs.start("echo", {"n": value})


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_elsewhere_is_not_sent(client: Client, name: str) -> None:
    for call in (client.runs.get, client.runs.delete, client.workflows.get):
        with pytest.raises(InvalidInput, match="is no name"):
            call(name)


@pytest.mark.parametrize("token", ["t\u00f6k\u00e9n", "two\nlines"])
def test_a_token_that_can_be_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Client("http://127.0.0.1:1", token=token)
    assert token not in str(raised.value)


def test_an_address_is_named_without_its_token() -> None:
    with pytest.raises(BadAddress) as raised:
        Client("http://:s3cret@farm:port")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("address", ["http://farm:port", "ftp://farm", "http://"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(BadAddress, match="is no address of a server"):
        Client(address)


@pytest.mark.anyio
async def test_the_same_calls_are_awaited(awaited: AsyncClient, farm: Farm) -> None:
    assert (await awaited.configs.apply(farm.at(1))).verdict == "created"
    assert "echo" in {one.name for one in await awaited.workflows.list()}
    assert (await awaited.status()).version
    assert_type(await awaited.workflows.get("fruit"), Workflow)
    assert_type(await awaited.runs.start("echo"), Run)


@pytest.mark.anyio
async def test_nobody_there_is_said_to_who_awaits_too() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(NoServer):
            await client.status()


def test_the_calls_explain_themselves(client: Client) -> None:
    assert "Create a resource, or replace" in (client.workflows.apply.__doc__ or "")
