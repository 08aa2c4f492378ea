"""Artifacts as clients see them."""

from __future__ import annotations

import os
from typing import assert_type

import pytest
from flowdapt_client import artifacts

from flowdapt.client import Artifact, AsyncClient, Client
from flowdapt.errors import InvalidInput, ResourceNotFound


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own."""
    return f"n{os.urandom(4).hex()}"


def test_a_file_is_written_and_read_as_it_is(client: Client, namespace: str) -> None:
    content = bytes(range(256)) + b'{"detail": "no JSON"}'

    made = client.artifacts.write("soil", "a b.bin", content, namespace=namespace)

    assert_type(made, Artifact)
    assert client.artifacts.read("soil", "a b.bin", namespace=namespace) == content
    assert client.artifacts.info("soil", namespace=namespace) == made
    assert [(file.name, file.size) for file in made.files] == [("a b.bin", len(content))]


def test_artifacts_are_listed_page_by_page(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "PAGE", 2)
    for name in ("a", "b", "c", "sea"):
        client.artifacts.write(name, "file", b"x", namespace=namespace)

    every = [one.name for one in client.artifacts.list(namespace=namespace)]
    some = [one.name for one in client.artifacts.list(namespace=namespace, limit=3)]
    chosen = [one.name for one in client.artifacts.list(namespace=namespace, prefix="se")]

    assert (every, some, chosen) == (["a", "b", "c", "sea"], ["a", "b", "c"], ["sea"])


def test_a_deleted_artifact_is_gone(client: Client, namespace: str) -> None:
    client.artifacts.write("soil", "file", b"x", namespace=namespace)

    client.artifacts.delete("soil", namespace=namespace)

    for call in (client.artifacts.info, client.artifacts.delete):
        with pytest.raises(ResourceNotFound, match=f"no artifact named '{namespace}/soil'"):
            call("soil", namespace=namespace)


def test_what_is_missing_of_an_artifact_is_named(client: Client, namespace: str) -> None:
    client.artifacts.write("soil", "file", b"x", namespace=namespace)

    with pytest.raises(ResourceNotFound, match=f"no artifact file named '{namespace}/soil/a'"):
        client.artifacts.read("soil", "a", namespace=namespace)
    with pytest.raises(ResourceNotFound, match=f"'{namespace}/soil version 9/file'"):
        client.artifacts.read("soil", "file", namespace=namespace, version=9)
    with pytest.raises(ResourceNotFound, match=f"'{namespace}/soil version 9'"):
        client.artifacts.info("soil", namespace=namespace, version=9)
    with pytest.raises(InvalidInput, match="is no name"):
        client.artifacts.read("soil", "..", namespace=namespace)


@pytest.mark.anyio
async def test_the_same_calls_are_awaited(awaited: AsyncClient, namespace: str) -> None:
    calls = awaited.artifacts
    await calls.write("soil", "file", b"x", namespace=namespace)

    async with calls.list(namespace=namespace) as listed:
        assert [one.name async for one in listed] == ["soil"]
    assert await calls.read("soil", "file", namespace=namespace) == b"x"
    await calls.delete("soil", namespace=namespace)
    with pytest.raises(ResourceNotFound):
        await calls.read("soil", "file", namespace=namespace)
