"""Tokens as they are made, kept and found."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import FORM, KIND, TokenRefused, Tokens, hidden
from flowdapt_sqlite.storage import SqliteStorage

pytestmark = pytest.mark.anyio


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(MemoryStorage())


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[tuple[Tokens, Tokens]]:
    """The tokens in one file, as two processes see them."""
    storages = [SqliteStorage(app_dir=tmp_path) for _ in range(2)]
    for storage in storages:
        await storage.start()
    yield Tokens(storages[0]), Tokens(storages[1])
    for storage in storages:
        await storage.stop()


async def test_a_token_is_found_by_its_text(tokens: Tokens) -> None:
    made, text = await tokens.create("ci", Role.OPERATE)

    assert await tokens.find(text) == made
    assert (made.name, made.role, made.expires_at) == ("ci", Role.OPERATE, None)


async def test_of_programs_that_make_one_of_a_name_at_once_the_first_does(
    stored: tuple[Tokens, Tokens],
) -> None:
    tries = [stored[i % 2].create("ci", Role.READ) for i in range(10)]

    outcomes = await asyncio.gather(*tries, return_exceptions=True)

    made = [one for one in outcomes if not isinstance(one, BaseException)]
    assert [str(one)[:22] for one in outcomes if isinstance(one, TokenRefused)] == (
        ["there is a token 'ci' "] * 9
    )
    ((token, text),) = made
    assert await stored[1].list() == [token]
    assert await stored[0].find(text) == token


async def test_only_a_digest_is_kept(tokens: Tokens) -> None:
    made, text = await tokens.create("ci", Role.READ)

    kept = json.dumps(await tokens.storage.list(KIND))
    secret = text.rpartition("_")[2]
    assert secret not in kept
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    assert secret not in repr(made)


async def test_secrets_have_256_random_bits(tokens: Tokens) -> None:
    texts = [(await tokens.create(f"t{n}", Role.READ))[1] for n in range(20)]

    secrets = {text.rpartition("_")[2] for text in texts}
    assert len(secrets) == len(texts)
    assert {len(bytes.fromhex(secret)) * 8 for secret in secrets} == {256}


async def test_what_is_nearly_a_token_is_none(tokens: Tokens) -> None:
    _, text = await tokens.create("ci", Role.ADMIN)
    last = "1" if text[-1] == "0" else "0"

    for wrong in (text[:-1] + last, text[:-1], text + "0", text.upper(), f" {text}", "", "fd__"):
        assert await tokens.find(wrong) is None


async def test_a_secret_is_worth_nothing_with_the_id_of_another_token(tokens: Tokens) -> None:
    one, _ = await tokens.create("one", Role.ADMIN)
    _, text = await tokens.create("other", Role.READ)

    assert await tokens.find(f"fd_{one.id}_{text.rpartition('_')[2]}") is None
    assert await tokens.find(f"fd_00000000_{text.rpartition('_')[2]}") is None


async def test_a_name_is_given_once(tokens: Tokens) -> None:
    made, _ = await tokens.create("ci", Role.READ)

    for name in ("ci", made.id):
        with pytest.raises(TokenRefused, match="already"):
            await tokens.create(name, Role.READ)


@pytest.mark.parametrize("name", ["", "a b", "-x", "anonymous", "x" * 101, "a\nb"])
async def test_a_name_is_a_short_word(tokens: Tokens, name: str) -> None:
    with pytest.raises(TokenRefused, match="cannot be named"):
        await tokens.create(name, Role.READ)


async def test_a_token_is_revoked_by_name_and_by_id(tokens: Tokens) -> None:
    one, _ = await tokens.create("one", Role.READ)
    await tokens.create("other", Role.READ)

    await tokens.revoke("other")
    await tokens.revoke(one.id)

    assert await tokens.list() == []
    with pytest.raises(TokenRefused, match="no token named 'one'"):
        await tokens.revoke("one")


async def test_a_token_expires(tokens: Tokens) -> None:
    past, _ = await tokens.create("past", Role.READ, lifetime=timedelta(seconds=-1))
    future, _ = await tokens.create("future", Role.READ, lifetime=timedelta(days=1))

    assert past.expired
    assert not future.expired


async def test_what_another_process_does_counts_at_once(stored: tuple[Tokens, Tokens]) -> None:
    here, there = stored

    made, text = await there.create("ci", Role.READ)
    assert await here.find(text) == made

    await there.revoke("ci")
    assert await here.find(text) is None


def test_secrets_are_hidden_in_texts() -> None:
    text = f"GET /fd_0123abcd_{'0' * 64}/x"

    assert hidden(text) == "GET /fd_0123abcd_.../x"
    assert not FORM.search(hidden(text))
