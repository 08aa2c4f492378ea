"""Objects as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

import pytest
from flowdapt_client import objects

from flowdapt.client import AsyncClient, Client, ObjectEntry, ObjectStats, Refused
from flowdapt.errors import InvalidInput, ResourceNotFound

from .serving import Served


def put(served: Served, *keys: str, namespace: str, size: int = 10) -> None:
    assert served.server.memory is not None
    for key in keys:
        served.server.memory.put(namespace, key, [bytes(size)], size=size, type="bytes")


def test_objects_are_listed_page_by_page(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAGE", 2)
    put(served, "a", "b", "c/d", "other", namespace="paged")

    every = [*client.objects.list(namespace="paged", place="memory")]
    some = [*client.objects.list(namespace="paged", place=["memory", "disk"], limit=3)]
    chosen = [*client.objects.list(namespace="paged", prefix="c", place="memory")]

    assert [one.key for one in every] == ["a", "b", "c/d", "other"]
    assert [one.key for one in some] == ["a", "b", "c/d"]
    assert [one.key for one in chosen] == ["c/d"]


def test_what_is_known_of_an_object_comes_as_a_model(served: Served, client: Client) -> None:
    put(served, "a/b ü", namespace="known", size=1000)

    (found,) = client.objects.info("a/b ü", namespace="known")

    assert_type(client.objects.info("a/b ü", namespace="known"), Sequence[ObjectEntry])
    assert (found.place, found.size, found.type, found.expires) == ("memory", 1000, "bytes", None)
    assert found.created is not None


def test_a_deleted_object_is_gone(served: Served, client: Client) -> None:
    put(served, "soil", namespace="gone")

    (deleted,) = client.objects.delete("soil", namespace="gone")

    assert deleted.key == "soil"
    for call in (client.objects.info, client.objects.delete):
        with pytest.raises(ResourceNotFound, match="no object named 'gone/soil'"):
            call("soil", namespace="gone")


def test_stats_tell_what_namespaces_come_to(served: Served, client: Client) -> None:
    put(served, "soil", "sky", namespace="counted", size=2000)

    stats = client.objects.stats()

    assert_type(stats, ObjectStats)
    (one,) = (one for one in stats.namespaces if one.namespace == "counted")
    assert (one.objects, one.memory, one.disk, one.artifact) == (2, 4000, 0, 0)
    assert 0 < (stats.used or 0) < (stats.capacity or 0)


def test_a_place_that_there_is_not_is_refused(client: Client) -> None:
    with pytest.raises(Refused, match="must be one or more of 'memory', 'disk', 'artifact'"):
        [*client.objects.list(place="cellar")]


@pytest.mark.parametrize("key", ["", ".", ".."])
def test_a_key_that_would_lead_elsewhere_is_not_sent(client: Client, key: str) -> None:
    with pytest.raises(InvalidInput, match="is no name"):
        client.objects.delete(key)


@pytest.mark.anyio
async def test_the_same_calls_are_awaited(served: Served, awaited: AsyncClient) -> None:
    put(served, "soil", namespace="awaited")

    async with awaited.objects.list(namespace="awaited", place="memory") as listed:
        assert [one.key async for one in listed] == ["soil"]
    assert (await awaited.objects.info("soil", namespace="awaited"))[0].size == 10
    assert len(await awaited.objects.delete("soil", namespace="awaited")) == 1
    assert (await awaited.objects.stats()).objects is not None
