"""What is stored of secrets, and how keys are replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_secrets import keys
from flowdapt_secrets.keeper import KIND, Keeper
from flowdapt_secrets.keys import KeyMissing, KeyUnusable

from flowdapt.errors import InvalidResource, ResourceNotFound, StageError
from flowdapt.storage import Document
from tests.plugins.secrets.conftest import Desk, holding

pytestmark = pytest.mark.anyio


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(MemoryStorage(), tmp_path)


async def opened(keeper: Keeper, name: str) -> Any:
    """Return a secret as a stage would find it."""
    return (await keeper.seal({"it": f"$secret{{{name}}}"}))()["it"]


async def test_a_secret_is_stored_and_opened(keeper: Keeper) -> None:
    await keeper.put("TOKEN", "first\nvälue")

    assert await opened(keeper, "TOKEN") == "first\nvälue"


async def test_setting_it_again_changes_it_and_when_it_was_changed(keeper: Keeper) -> None:
    first = await keeper.put("TOKEN", "one")

    second = await keeper.put("TOKEN", "two")

    assert await opened(keeper, "TOKEN") == "two"
    assert (second.uid, second.created_at) == (first.uid, first.created_at)
    assert second.updated_at > first.updated_at
    assert await keeper.list() == [second]


async def test_it_is_gone_once_it_is_deleted(keeper: Keeper) -> None:
    await keeper.put("TOKEN", "value")

    await keeper.delete("TOKEN")

    assert await keeper.list() == []
    with pytest.raises(StageError, match="'TOKEN', which is not set"):
        await keeper.seal({"it": "$secret{TOKEN}"})
    with pytest.raises(ResourceNotFound, match="no secret named 'TOKEN'"):
        await keeper.delete("TOKEN")


async def test_those_who_set_it_at_once_all_succeed(keeper: Keeper) -> None:
    values = [str(n) for n in range(20)]

    told = await asyncio.gather(*(keeper.put("TOKEN", value) for value in values))

    assert sorted(metadata.generation for metadata in told) == [*range(1, 21)]
    assert await opened(keeper, "TOKEN") in values


async def test_the_key_is_made_with_the_first_secret(keeper: Keeper) -> None:
    await keeper.list()
    assert not keeper.key_file.exists()

    await keeper.put("TOKEN", "value")

    assert keeper.key_file.exists()


async def test_a_key_that_is_lost_is_not_replaced_behind_the_back(keeper: Keeper) -> None:
    await keeper.put("TOKEN", "value")
    keeper.key_file.unlink()

    with pytest.raises(KeyMissing):
        await keeper.put("OTHER", "value")

    assert not keeper.key_file.exists()
    await keeper.delete("TOKEN")
    await keeper.put("OTHER", "value")
    assert await opened(keeper, "OTHER") == "value"


async def test_a_key_is_replaced_in_three_steps(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keeper.put("TOKEN", "value")
    new, old = Fernet.generate_key().decode(), keeper.key_file.read_text().strip()

    monkeypatch.setenv(keys.VARIABLE, f"{new},{old}")
    assert await opened(keeper, "TOKEN") == "value"
    await keeper.put("TOKEN", "value")
    monkeypatch.setenv(keys.VARIABLE, new)

    assert await opened(keeper, "TOKEN") == "value"
    monkeypatch.setenv(keys.VARIABLE, old)
    with pytest.raises(KeyUnusable):
        await opened(keeper, "TOKEN")


async def test_the_storage_holds_ciphertext_alone(desk: Desk) -> None:
    await desk.keeper.put("TOKEN", "correct-horse-battery")
    await desk.keeper.put("TOKEN", "correct-horse-stable")

    document: Document = await desk.server.storage.get(KIND, "TOKEN")

    assert document["spec"].keys() == {"token"}
    assert holding(desk.app_dir, "correct-horse") == []
    assert holding(desk.app_dir, document["spec"]["token"]) != []


async def test_secrets_are_no_kind_of_resource(desk: Desk) -> None:
    with pytest.raises(InvalidResource, match="'secret' is no kind of resource"):
        await desk.server.engine.apply({"kind": "secret", "metadata": {"name": "TOKEN"}})
