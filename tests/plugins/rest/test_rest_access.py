"""Who may do what: tokens on requests, and the roles of routes."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from flowdapt_rest.app import make_app
from flowdapt_rest.roles import Role
from flowdapt_rest.service import RestService
from flowdapt_rest.tokens import Tokens

from flowdapt.server import Server
from tests.plugins.rest.callers import WORKFLOW, bearer
from tests.plugins.rest.conftest import check_error
from tests.plugins.rest.listening import STREAM, listening
from tests.plugins.rest.replies import Replies

pytestmark = pytest.mark.anyio


@pytest.fixture
def overrides() -> list[str]:
    return ["rpc.api.require_token=true"]


def basic(user: str, password: str) -> dict[str, str]:
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {both}"}


# Who calls


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("/workflows/", "/status", "/openapi.json", "/audit", "/no")),
        *(("POST", path) for path in ("/", "/workflows/", "/drain")),
        ("PATCH", "/workflows/"),
        ("OPTIONS", "/workflows/"),
        ("GET", "/workflows"),
    ],
)
async def test_nothing_is_answered_without_a_token(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    refused = await client.request(method, path)

    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="flowdapt"'
    assert "Authorization: Bearer TOKEN" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
async def test_but_who_answers_and_the_page_about_it(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.head(path)).status_code in (200, 405)


async def test_a_token_may_be_a_password_or_a_user(
    client: httpx.AsyncClient, texts: dict[str, str]
) -> None:
    text = texts["read"]

    for headers in (bearer(text), basic("", text), basic("me", text), basic(text, "")):
        assert (await client.get("/status", headers=headers)).status_code == 200
    lower = {"authorization": f"bearer  {text} "}
    assert (await client.get("/status", headers=lower)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer", "Bearer ", "Bearer x", "Bearer fd_0_0", "Digest a=b", "Basic", "Basic !"),
        *("Basic bm8=", "Basic //79", f"Bearer fd_00000000_{'0' * 64}", f"Bearer {'x' * 60_000}"),
        "Bearer \xff",
    ],
)
async def test_what_is_no_token_is_refused_and_not_repeated(
    client: httpx.AsyncClient, header: str
) -> None:
    refused = await client.get("/status", headers=[(b"Authorization", header.encode("latin-1"))])

    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert "not valid" in refused.json()["detail"]


async def test_two_tokens_are_none(client: httpx.AsyncClient, texts: dict[str, str]) -> None:
    twice = [("Authorization", f"Bearer {texts['admin']}")] * 2

    assert (await client.get("/status", headers=twice)).status_code == 401


async def test_a_revoked_token_is_worth_nothing_from_then_on(
    client: httpx.AsyncClient, server: Server, texts: dict[str, str]
) -> None:
    before = await client.get("/status", headers=bearer(texts["read"]))

    await Tokens(server.engine.storage).revoke("the-read")

    assert before.status_code == 200
    assert (await client.get("/status", headers=bearer(texts["read"]))).status_code == 401


@pytest.mark.parametrize("path", ["/events", "/workflows/?watch=true"])
async def test_a_stream_ends_when_its_token_is_revoked(
    server: Server,
    texts: dict[str, str],
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("flowdapt_rest.revocable.LOOK_SECONDS", 0.02)
    service = RestService(server)
    await service.start()
    async with httpx.AsyncClient(base_url=server.addresses["rest"], timeout=20) as client:
        client.headers.update(bearer(texts["read"]))
        async with listening(client, path) as listener:
            await Tokens(server.engine.storage).revoke("the-read")

            assert await listener.all() == []
        again = await client.get(path, headers=STREAM)
    await service.stop()

    assert again.status_code == 401
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_an_expired_token_is_told_so(client: httpx.AsyncClient, server: Server) -> None:
    tokens = Tokens(server.engine.storage)
    _, text = await tokens.create("old", Role.ADMIN, lifetime=timedelta(seconds=-1))

    refused = await client.get("/status", headers=bearer(text))

    assert refused.status_code == 401
    assert "the token 'old' has expired" in refused.json()["detail"]


async def test_a_storage_that_fails_lets_nobody_in(
    client: httpx.AsyncClient,
    server: Server,
    texts: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr(server.engine.storage, "get", away)

    assert (await client.get("/status", headers=bearer(texts["admin"]))).status_code == 500


@pytest.fixture
async def local(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the same server where it asks nobody who they are."""
    transport = httpx.ASGITransport(make_app(server, token_needed=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://flowdapt") as made:
        yield made


async def test_where_none_is_needed_one_that_is_sent_is_looked_at(
    local: httpx.AsyncClient, texts: dict[str, str]
) -> None:
    without = await local.post("/workflows/", json=WORKFLOW)
    low = await local.delete("/workflows/made", headers=bearer(texts["read"]))
    wrong = await local.get("/", headers=bearer("wrong"))

    assert (without.status_code, low.status_code, wrong.status_code) == (200, 403, 401)


# Web pages


async def test_a_page_reads_why_it_is_refused_and_asks_first_without_a_token(
    client: httpx.AsyncClient, texts: dict[str, str]
) -> None:
    origin = {"Origin": "http://localhost:3030"}
    asks = origin | {
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization",
    }

    preflight = await client.options("/workflows/x", headers=asks)
    unknown = await client.get("/workflows/", headers=origin)
    low = await client.delete("/workflows/x", headers=origin | bearer(texts["read"]))

    assert (preflight.status_code, unknown.status_code, low.status_code) == (200, 401, 403)
    for answer in (preflight, unknown, low):
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    assert preflight.headers["access-control-allow-headers"] == "authorization"


async def test_the_page_of_the_server_itself_may_do_what_its_token_may(
    client: httpx.AsyncClient, texts: dict[str, str]
) -> None:
    async def delete(origin: str, **headers: str) -> int:
        sent = {"Origin": origin, "Host": "flows.example:8080"} | headers
        return (await client.delete("/configs/x", headers=sent)).status_code

    token = bearer(texts["admin"])
    assert await delete("http://flows.example:8080", **token) == 404
    assert await delete("https://flows.example:8080", **token) == 404  # a proxy knows of TLS
    assert await delete("http://flows.example", **token) == 403
    assert await delete("http://flows.example:8080") == 403


# What is said of it


async def test_no_token_is_ever_told(
    client: httpx.AsyncClient,
    server: Server,
    texts: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def failing(*_: Any) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(server.engine, "list", failing)
    wrong = f"fd_00000000_{'12' * 32}"
    answers = []
    for text in (texts["read"], texts["admin"], wrong):
        for headers in (bearer(text), basic("", text)):
            answers.append(await client.get("/workflows/", headers=headers))
            answers.append(await client.post("/workflows/", headers=headers, content=b"{"))

    told = [answer.text + str(answer.headers) for answer in answers]
    for record in caplog.records:
        told.append(record.getMessage())
        if record.exc_info and record.exc_info[1]:
            error = traceback.TracebackException.from_exception(
                record.exc_info[1], capture_locals=True
            )
            told.append("".join(error.format()))
    everything = "\n".join(told)
    assert "on purpose" in everything
    for text in (*texts.values(), wrong):
        assert text not in everything
        assert text.rpartition("_")[2] not in everything
        assert basic("", text)["Authorization"] not in everything


async def test_the_document_says_what_is_needed(
    admin: httpx.AsyncClient, local: httpx.AsyncClient
) -> None:
    document = (await admin.get("/openapi.json")).json()
    free = (await local.get("/openapi.json")).json()

    assert document["components"]["securitySchemes"].keys() == {"token", "password"}
    assert document["security"] == [{"token": []}, {"password": []}]
    assert {} in free["security"]
    run = document["paths"]["/workflows/{identifier}/run"]["post"]
    assert run["x-role"] == "operate"
    assert run["responses"].keys() >= {"401", "403", "408"}
    assert {} in document["paths"]["/"]["get"]["security"]


async def test_replies_to_the_wrong_are_as_described(server: Server) -> None:
    app = make_app(server)
    checks = {"response": [check_error, Replies.of(app).check]}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://flowdapt", event_hooks=checks
    ) as client:
        for operation in Replies.of(app).operations:
            path = operation.path.replace("{", "").replace("}", "")
            answer = await client.request(operation.method, path, headers=bearer("wrong"))

            assert answer.status_code == 401
