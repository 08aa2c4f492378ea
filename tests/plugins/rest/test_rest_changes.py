"""Creating, replacing and deleting resources."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from flowdapt_rest.changes import unknown_fields

from flowdapt.resources import Workflow

pytestmark = pytest.mark.anyio


def config(name: str = "params", **spec: Any) -> dict[str, Any]:
    return {"kind": "config", "metadata": {"name": name}, "spec": {"data": {}, **spec}}


def workflow(name: str = "harvest", **stage: Any) -> dict[str, Any]:
    stages = [{"name": "pick", "target": "rest_stages.echo", **stage}]
    return {"metadata": {"name": name}, "spec": {"stages": stages}}


# Creating ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/vnd.flowdapt.ai.config.v1alpha1+json", ""],
)
async def test_a_body_is_json_whatever_its_content_type(
    client: httpx.AsyncClient, content_type: str
) -> None:
    content = json.dumps(config()).encode()

    response = await client.post(
        "/configs/", content=content, headers={"Content-Type": content_type}
    )

    assert response.status_code == 200


async def test_what_the_server_gives_is_ignored_in_requests(client: httpx.AsyncClient) -> None:
    given = config()
    given["metadata"] |= {"uid": "mine", "created_at": 7, "updated_at": None, "generation": "x"}

    created = await client.post("/configs/", json=given)

    assert created.status_code == 200
    assert created.json()["metadata"]["uid"] == str(UUID(created.json()["metadata"]["uid"]))
    assert "warning" not in created.headers


async def test_a_taken_name_is_400(client: httpx.AsyncClient) -> None:
    await client.post("/configs/", json=config())

    response = await client.post("/configs/", json=config())

    assert response.status_code == 400
    assert response.json()["detail"] == "a config with name 'params' already exists"


async def test_a_foreign_kind_is_400(client: httpx.AsyncClient) -> None:
    await client.post("/configs/", json=config())
    foreign = {**config(), "kind": "workflow"}

    created = await client.post("/configs/", json=foreign)
    replaced = await client.put("/configs/params", json=foreign)

    for response in (created, replaced):
        assert response.status_code == 400
        assert response.json()["errors"][0]["loc"] == ["kind"]


async def test_invalid_fields_are_400_with_the_path_of_each(client: httpx.AsyncClient) -> None:
    given = workflow("not a name", type="simple", depends_on="x")

    response = await client.post("/workflows/", json=given)

    assert response.status_code == 400
    paths = [error["loc"] for error in response.json()["errors"]]
    assert paths == [["metadata", "name"], ["spec", "stages", 0, "depends_on"]]
    assert "spec.stages.0.depends_on" in response.json()["detail"]
    assert "http" not in response.json()["detail"]
    assert (await client.get("/workflows/")).json() == []


async def test_annotations_that_are_no_texts_are_400(client: httpx.AsyncClient) -> None:
    given = config()
    given["metadata"]["annotations"] = {"n": 1}

    assert (await client.post("/configs/", json=given)).status_code == 400


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"type": "strange"}, "'strange' is no stage type"),
        ({"depends_on": ["nobody"]}, "depends on 'nobody', which is no stage"),
        ({"depends_on": ["pick"]}, "pick -> pick"),
        ({"target": "rest_stages.ecco"}, "rest_stages.ecco"),
    ],
)
async def test_a_workflow_that_cannot_run_is_400(
    client: httpx.AsyncClient, stage: dict[str, Any], said: str
) -> None:
    response = await client.post("/workflows/", json=workflow(**stage))

    assert response.status_code == 400
    assert said in response.json()["detail"]


async def test_what_the_dashboard_sends_is_accepted(client: httpx.AsyncClient) -> None:
    given = workflow(options={"map_on": ""}, resources={"threads": "5"})

    response = await client.post("/workflows/", json=given)

    assert response.status_code == 200
    assert response.json()["spec"]["stages"][0]["options"] == {"map_on": ""}


# Replacing and deleting ----------------------------------------------------------------------


async def test_put_replaces_wholesale_and_keeps_uid_and_creation(
    client: httpx.AsyncClient,
) -> None:
    first = config(data={"a": 1, "b": 2})
    first["metadata"]["annotations"] = {"x": "1"}
    old = (await client.post("/configs/", json=first)).json()

    new = (await client.put("/configs/params", json=config(data={"b": 3}))).json()

    assert new["spec"]["data"] == {"b": 3}
    assert new["metadata"]["annotations"] == {}
    for key in ("uid", "created_at"):
        assert new["metadata"][key] == old["metadata"][key]
    assert new["metadata"]["updated_at"] > old["metadata"]["updated_at"]


async def test_put_may_rename(client: httpx.AsyncClient) -> None:
    await client.post("/configs/", json=config("old"))

    await client.put("/configs/old", json=config("new"))

    assert (await client.get("/configs/old")).status_code == 404
    assert (await client.get("/configs/new")).status_code == 200


async def test_put_onto_a_taken_name_is_400_and_changes_nothing(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/configs/", json=config("one"))
    await client.post("/configs/", json=config("two"))

    response = await client.put("/configs/two", json=config("one"))

    assert response.status_code == 400
    assert (await client.get("/configs/two")).status_code == 200


async def test_a_failed_put_changes_nothing(client: httpx.AsyncClient) -> None:
    before = (await client.post("/configs/", json=config(data={"a": 1}))).json()

    response = await client.put("/configs/params", json=config(data=7))

    assert response.status_code == 400
    assert (await client.get("/configs/params")).json() == before


async def test_annotations_of_the_server_survive_a_put_that_omits_them(
    client: httpx.AsyncClient,
) -> None:
    given = config()
    given["metadata"]["annotations"] = {"flowdapt.ai/last_run": "today", "mine": "x"}
    await client.post("/configs/", json=given)

    replaced = (await client.put("/configs/params", json=config())).json()

    assert replaced["metadata"]["annotations"] == {"flowdapt.ai/last_run": "today"}


async def test_delete_returns_what_was_deleted(client: httpx.AsyncClient) -> None:
    created = (await client.post("/configs/", json=config())).json()

    deleted = await client.delete("/configs/params")

    assert deleted.status_code == 200
    assert deleted.json() == created
    assert (await client.get("/configs/")).json() == []


# Unknown fields ------------------------------------------------------------------------------

UNKNOWN = {"version": "v1alpha1", "top": 1} | workflow(colour="red")


async def test_unknown_fields_are_dropped_and_each_is_warned_about(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/workflows/", json=UNKNOWN)

    assert response.status_code == 200
    assert "top" not in response.json()
    warnings = response.headers.get_list("warning")
    assert sorted(warnings) == [
        '299 - "unknown field spec.stages.0.colour"',
        '299 - "unknown field top"',
    ]


async def test_unknown_fields_are_refused_by_name_where_that_is_wanted(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/workflows/?fieldValidation=Strict", json=UNKNOWN)

    assert response.status_code == 400
    errors = {tuple(error["loc"]): error["msg"] for error in response.json()["errors"]}
    unknown = "unknown field"
    assert errors == {("spec", "stages", 0, "colour"): unknown, ("top",): unknown}
    assert (await client.get("/workflows/")).json() == []


async def test_unknown_fields_are_ignored_where_that_is_wanted(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/workflows/?fieldValidation=Ignore", json=UNKNOWN)

    assert response.status_code == 200
    assert "warning" not in response.headers


async def test_put_treats_unknown_fields_alike(client: httpx.AsyncClient) -> None:
    await client.post("/workflows/", json=workflow())

    warned = await client.put("/workflows/harvest", json=UNKNOWN)
    refused = await client.put("/workflows/harvest?fieldValidation=Strict", json=UNKNOWN)

    assert len(warned.headers.get_list("warning")) == 2
    assert refused.status_code == 400


async def test_a_field_cannot_write_headers(client: httpx.AsyncClient) -> None:
    given = {**config(), 'a\r\nSet-Cookie: "ü': 1}

    response = await client.post("/configs/", json=given)

    assert response.status_code == 200
    assert response.headers["warning"] == (r'299 - "unknown field a\r\nSet-Cookie: \"\u00fc"')


async def test_a_thousand_unknown_fields_do_not_make_a_thousand_headers(
    client: httpx.AsyncClient,
) -> None:
    given = {**config(), **{f"f{i}": 0 for i in range(1000)}}

    response = await client.post("/configs/", json=given)

    warnings = response.headers.get_list("warning")
    assert len(warnings) == 21
    assert warnings[-1] == '299 - "980 more unknown fields"'


def test_unknown_fields_are_listed_by_their_paths() -> None:
    known = {"metadata": {"name": "farm"}, "spec": {"stages": [{"name": "a", "target": "m.f"}]}}
    stage = {"name": "a", "target": "m.f", "retry": 3}
    data = {
        "metadata": {"name": "farm", "colour": "red"},
        "spec": {"stages": [stage]},
        "version": "v1",
    }

    assert sorted(unknown_fields(Workflow, data)) == [
        "metadata.colour",
        "spec.stages.0.retry",
        "version",
    ]
    assert unknown_fields(Workflow, known) == []
