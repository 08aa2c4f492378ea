"""Lists of resources: chosen, ordered, and read part by part."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def configs(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client, and four configs that were not created by their names, `c` changed last."""
    for name, notes in (("d", {}), ("a", {"k": "1"}), ("c", {"k": "1", "l": "2"}), ("b", {})):
        config = {"metadata": {"name": name, "annotations": notes}, "spec": {"data": {}}}
        assert (await client.post("/configs/", json=config)).status_code == 200
    changed: dict[str, Any] = (await client.get("/configs/c")).json()
    await client.put("/configs/c", json=changed)
    return client


async def names(client: httpx.AsyncClient, query: str = "") -> list[str]:
    return [one["metadata"]["name"] for one in (await client.get(f"/configs/?{query}")).json()]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", "dacb"),
        ("order=created", "dacb"),
        ("order=-created", "bcad"),
        ("order=name", "abcd"),
        ("order=-name", "dcba"),
        ("order=updated", "dabc"),
        ("order=-updated", "cbad"),
        ("annotations=k=1", "ac"),
        ("annotations=k=1,l=2", "c"),
        ("annotations=k=2", ""),
        ("annotations=", "dacb"),
        ("limit=0", "dacb"),
    ],
)
async def test_resources_are_chosen_and_ordered(
    configs: httpx.AsyncClient, query: str, wanted: str
) -> None:
    assert await names(configs, query) == list(wanted)


async def test_a_list_is_read_part_by_part(configs: httpx.AsyncClient) -> None:
    first = await configs.get("/configs/?limit=3&order=name")
    second = await configs.get(first.links["next"]["url"])

    assert [one["metadata"]["name"] for one in first.json()] == ["a", "b", "c"]
    assert [one["metadata"]["name"] for one in second.json()] == ["d"]
    assert "link" not in second.headers


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("order=size", 422),
        ("annotations=k", 422),
        ("cursor=x", 422),
        ("cursor=0b7e6d8a-4f0c-4c53-9a55-0d1c3f6f5a10", 404),
    ],
)
async def test_a_wrong_query_is_refused(
    configs: httpx.AsyncClient, query: str, status: int
) -> None:
    assert (await configs.get(f"/configs/?{query}")).status_code == status
