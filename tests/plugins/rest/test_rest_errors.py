"""Errors, limits and foreign origins. What all errors share is checked by the client fixture."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from flowdapt.errors import StorageError

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

HOME = "http://localhost:3030"


def broken(error: Exception) -> Any:
    async def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.fixture
def small_bodies(overrides: list[str]) -> None:
    overrides.append("rpc.api.max_body=100")


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/workflows/a/b/c", "/workflows//run", "/%2F"])
async def test_an_unknown_path_is_404(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)

    assert response.status_code == 404
    assert "there is nothing at /" in response.json()["detail"]


async def test_a_wrong_method_is_405_and_names_all_that_are_right(
    client: httpx.AsyncClient,
) -> None:
    response = await client.patch("/workflows/harvest")

    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, HEAD, PUT"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"{'a': 1}", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": "\\ud800"}', "is not JSON"),
        (b"[]", "must be a JSON object, not a list"),
        (b'"x"', "not a text"),
        (b"null", "not null"),
        (b"12", "not 12"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper than 200 levels"),
        (b'{"a":[' + b"[]," * 500_000 + b"1]}", "holds 500002 lists and objects"),
        (b"[" * 100_000, "is not JSON"),
        (b"{}", "metadata: Field required"),
        (b'{"metadata": [], "spec": 1}', "metadata: "),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_malformed_body_is_400(
    client: httpx.AsyncClient, method: str, content: bytes, said: str
) -> None:
    await client.post("/configs/", json={"metadata": {"name": "a"}, "spec": {"data": {}}})
    path = "/configs/" if method == "POST" else "/configs/a"

    response = await client.request(method, path, content=content)

    assert response.status_code == 400
    assert said in response.json()["detail"]


async def test_a_malformed_host_breaks_nothing(client: httpx.AsyncClient) -> None:
    response = await client.get("/nothing", headers={"Host": "[:::"})

    assert response.status_code == 404


async def test_data_may_be_nested_two_hundred_levels_deep(client: httpx.AsyncClient) -> None:
    data = b'{"a":' * 196 + b"[1]" + b"}" * 196
    content = b'{"metadata": {"name": "a"}, "spec": {"data": {"b": ' + data + b"}}}"

    response = await client.post("/configs/", content=content)

    assert response.status_code == 200
    assert (await client.get("/configs/a")).status_code == 200


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "9" * 300])
async def test_integers_beyond_64_bits_are_refused_and_never_changed(
    client: httpx.AsyncClient, number: str
) -> None:
    content = '{"metadata": {"name": "a"}, "spec": {"data": {"n": %s}}}'

    refused = await client.post("/configs/", content=content % number)
    kept = await client.post("/configs/", content=content % 18446744073709551615)

    assert refused.status_code == 400
    assert f"the integer {number[:30]}, which has more than 64 bits" in refused.json()["detail"]
    assert kept.json()["spec"]["data"] == {"n": 18446744073709551615}


async def test_a_word_that_is_none_of_those_allowed_is_422(client: httpx.AsyncClient) -> None:
    response = await client.post("/configs/?fieldValidation=strict", json={})

    assert response.status_code == 422
    assert "'Strict' or 'Warn' or 'Ignore'" in response.json()["detail"]


async def test_a_fault_of_ours_is_500_is_logged_and_says_nothing(
    client: httpx.AsyncClient,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server.engine, "list", broken(KeyError("secret")))

    response = await client.get("/configs/", headers={"Origin": HOME})

    assert response.status_code == 500
    assert response.json()["detail"] == "Internal Server Error"
    assert response.headers["access-control-allow-origin"] == HOME
    assert [r.getMessage() for r in caplog.records] == ["GET /configs/ failed"]
    assert caplog.records[0].exc_info


async def test_in_dev_mode_a_500_says_what_happened(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowdapt_rest.app import make_app

    server.settings = server.settings.model_copy(update={"dev": True})
    monkeypatch.setattr(server.engine, "list", broken(KeyError("the reason")))
    transport = httpx.ASGITransport(make_app(server), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://flowdapt") as client:
        response = await client.get("/configs/")

    assert response.json() == {"detail": "KeyError: 'the reason'", "status_code": 500}


async def test_a_storage_that_is_away_is_503(
    client: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.storage, "list", broken(StorageError("the disk is full")))

    response = await client.get("/configs/")

    assert response.status_code == 503
    assert response.json()["detail"] == "the disk is full"


# Limits --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_bodies")
@pytest.mark.parametrize("path", ["/configs/", "/workflows/echo/run"])
async def test_a_body_that_is_announced_too_large_is_413(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.post(path, content=b"x" * 101)

    assert response.status_code == 413
    assert "larger than 100 bytes" in response.json()["detail"]


@pytest.mark.usefixtures("small_bodies")
async def test_a_body_that_grows_too_large_is_413(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10
            yield b"x" * 10

    response = await client.post("/configs/", content=endless())

    assert response.status_code == 413
    assert sent <= 120


@pytest.mark.usefixtures("small_bodies")
async def test_a_body_within_the_limit_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/configs/", content=b" " * 100)

    assert response.status_code == 400


# Foreign origins -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", [HOME, "http://127.0.0.1:3030", "http://localhost:5173", "http://localhost"]
)
@pytest.mark.parametrize("path", ["/configs/", "/nothing", "/configs/nothing"])
async def test_pages_from_this_machine_may_read_replies_and_errors(
    client: httpx.AsyncClient, origin: str, path: str
) -> None:
    response = await client.get(path, headers={"Origin": origin})

    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    "origin", ["https://example.org", "http://localhost.example.org", "http://localhostx:3030"]
)
async def test_pages_from_elsewhere_may_not(client: httpx.AsyncClient, origin: str) -> None:
    response = await client.get("/configs/", headers={"Origin": origin})

    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("origin", ["https://example.org", "null"])
async def test_pages_from_elsewhere_cannot_write(client: httpx.AsyncClient, origin: str) -> None:
    given = {"metadata": {"name": "a"}, "spec": {"data": {}}}

    response = await client.post("/configs/", json=given, headers={"Origin": origin})

    assert response.status_code == 403
    assert (await client.get("/configs/")).json() == []


async def test_a_preflight_grants_the_headers_and_methods_it_asks_for(
    client: httpx.AsyncClient,
) -> None:
    headers = {
        "Origin": HOME,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "x-api-version, x-own",
    }

    response = await client.options("/configs/a", headers=headers)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == HOME
    assert response.headers["access-control-allow-headers"] == "x-api-version, x-own"
    assert "DELETE" in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-max-age"] == "600"


async def test_nothing_is_logged_of_requests_that_are_refused(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    await client.get("/nothing")
    await client.post("/configs/", content=b"{")

    assert caplog.records == []
