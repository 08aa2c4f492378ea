"""By which names a server on this machine answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from flowdapt_rest.app import make_app

from flowdapt.server import Server

pytestmark = pytest.mark.anyio


@pytest.fixture
def overrides() -> list[str]:
    return ["rpc.api.allow_origins=https://garden.example:8443"]


@pytest.fixture
async def only_here(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that can be reached from this machine alone."""
    transport = httpx.ASGITransport(make_app(server, only_here=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as made:
        yield made


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "a.localhost:1",
        "127.0.0.1:80",
        "[::1]:8080",
        "garden.example",
    ],
)
async def test_its_own_names_are_answered(only_here: httpx.AsyncClient, host: str) -> None:
    assert (await only_here.get("/configs/", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:8080", "localhost.evil.example", "1.2.3.4.evil"])
async def test_a_name_of_somebody_else_is_refused(only_here: httpx.AsyncClient, host: str) -> None:
    response = await only_here.get("/configs/", headers={"Host": host})

    assert response.status_code == 403
    assert host.partition(":")[0] in response.json()["detail"]


async def test_where_a_token_is_needed_any_name_will_do(server: Server) -> None:
    transport = httpx.ASGITransport(make_app(server, only_here=True, token_needed=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example") as client:
        assert (await client.get("/")).status_code == 200


async def test_a_page_that_may_not_call_is_told_so_as_json(only_here: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}

    response = await only_here.options("/configs/", headers=asked)

    assert response.status_code == 400
    assert response.json()["status_code"] == 400


async def test_a_page_that_may_call_reads_what_it_needs_for_changes(
    only_here: httpx.AsyncClient,
) -> None:
    response = await only_here.get("/configs/", headers={"Origin": "https://garden.example:8443"})

    assert "ETag" in response.headers["access-control-expose-headers"]
