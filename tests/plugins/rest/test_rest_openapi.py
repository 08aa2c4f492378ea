"""The OpenAPI document, and the page that shows it."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

CONTRACT = """
    ping status drain undrain
    list_workflows create_workflow get_workflow update_workflow delete_workflow
    run_workflow list_workflow_runs get_workflow_run delete_workflow_run
    list_plugins get_plugin list_plugin_files get_plugin_file
    list_configs create_config get_config update_config delete_config
"""


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> dict[str, Any]:
    return {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
    }


async def test_it_is_what_clients_of_the_original_were_told(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.0.2"
    assert document["info"] == {"title": "Flowdapt", "version": "v1"}
    assert operations(document).keys() >= set(CONTRACT.split())


async def test_kinds_of_plugins_are_in_it(document: dict[str, Any]) -> None:
    assert operations(document).keys() >= {"list_gardens", "create_garden", "delete_garden"}


async def test_each_version_has_a_media_type_of_its_own(document: dict[str, Any]) -> None:
    content = operations(document)["get_workflow"]["responses"]["200"]["content"]

    name = "application/vnd.flowdapt.ai.workflow.{}+json"
    assert content.keys() == {name.format("v1alpha1"), name.format("v1"), "text/event-stream"}
    schemas = document["components"]["schemas"]
    assert "generation" in schemas["Metadata"]["properties"]
    assert "generation" not in schemas["Metadata_v1alpha1"]["properties"]


async def test_values_of_the_query_are_described_as_they_are_read(
    document: dict[str, Any],
) -> None:
    parameters = operations(document)["create_config"]["parameters"]

    fields, dry_run = [p for p in parameters if p["in"] == "query"]
    assert (dry_run["name"], dry_run["schema"]["enum"]) == ("dryRun", ["None", "All"])
    assert fields["name"] == "fieldValidation"
    assert fields["schema"]["enum"] == ["Strict", "Warn", "Ignore"]
    assert fields["schema"]["default"] == "Warn"


async def test_what_the_server_gives_is_not_asked_for(document: dict[str, Any]) -> None:
    body = operations(document)["create_workflow"]["requestBody"]

    schemas = document["components"]["schemas"]
    shape = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    metadata = schemas[shape]["properties"]["metadata"]["$ref"].rpartition("/")[2]
    assert schemas[metadata]["properties"].keys() == {"name", "annotations"}


async def test_every_operation_is_explained_and_says_how_it_fails(
    document: dict[str, Any],
) -> None:
    for operation in operations(document).values():
        assert operation["summary"]
        assert (
            operation["responses"].keys() >= {"200", "500"} or "default" in operation["responses"]
        )


async def test_all_that_is_referred_to_is_there(document: dict[str, Any]) -> None:
    for reference in set(re.findall(r"#/components/[^\"']+", str(document))):
        part = document
        for key in reference.removeprefix("#/").split("/"):
            part = part[key]
        assert part


async def test_it_is_made_once(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await client.get("/openapi.json")
    monkeypatch.setattr("flowdapt_rest.openapi.document", None)

    assert (await client.get("/openapi.json")).content == first.content


def test_a_server_starts_without_it() -> None:
    code = "import sys, flowdapt_rest.service; print('flowdapt_rest.openapi' in sys.modules)"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "False\n"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]


@pytest.mark.parametrize("tag", ["style", "script"])
async def test_only_the_style_and_the_script_of_the_page_are_allowed(
    client: httpx.AsyncClient, tag: str
) -> None:
    page = await client.get("/docs")

    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in page.headers["content-security-policy"]


async def test_items_of_a_run_are_described_in_both_forms(document: dict[str, Any]) -> None:
    started = operations(document)["run_workflow"]
    answer = started["responses"]["200"]

    assert {"text/event-stream", "application/x-ndjson"} <= answer["content"].keys()
    line = answer["content"]["application/x-ndjson"]["schema"]["$ref"].rpartition("/")[2]
    properties = document["components"]["schemas"][line]["properties"]
    assert properties.keys() == {"item", "restart", "end", "error"}
    assert answer["headers"].keys() == {"X-Run-UID"}
    assert "cancel_on_disconnect" in {one["name"] for one in started["parameters"]}
