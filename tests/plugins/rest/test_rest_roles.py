"""What callers may do: the roles of routes, also of those of plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from flowdapt_rest.app import make_app
from flowdapt_rest.operations import Operation
from flowdapt_rest.roles import Role

from flowdapt.server import Server
from tests.plugins.rest.callers import bearer
from tests.sites import Site

pytestmark = pytest.mark.anyio

PLUGIN = """
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

@hookimpl(optionalhook=True)
def flowdapt_routes():
    return [Provider("fruit", "{name}:routes"), Provider("wrong", "{name}:wrong")]

def routes(server):
    made = [
        Route("/plain", who, methods=["GET", "POST"]),
        Route("/open", who),
        Route("/running", who, methods=["POST"]),
        Mount("/mounted", routes=[Route("/inside", who, methods=["GET", "DELETE"])]),
    ]
    made[1].role, made[2].role = "anyone", "operate"
    return made

def wrong(server):
    route = Route("/wrong", who)
    route.role = "root"
    return [route]

async def who(request):
    caller = request.state.caller
    headers = "authorization" in request.headers
    return JSONResponse([caller.name, caller.role, caller.address, headers])
"""


@pytest.fixture
def overrides() -> list[str]:
    return ["rpc.api.require_token=true"]


@pytest.mark.parametrize(
    ("call", "least"),
    [
        ("GET /workflows/", "read"),
        ("HEAD /workflows/made", "read"),
        ("GET /workflows/made/run", "read"),
        ("GET /openapi.json", "read"),
        ("GET /plugin/", "read"),
        ("POST /workflows/made/run", "operate"),
        ("POST /workflows/run/x/cancel", "operate"),
        ("DELETE /workflows/run/x", "operate"),
        ("DELETE /drain", "operate"),
        ("POST /configs/", "admin"),
        ("PUT /workflows/made", "admin"),
        ("DELETE /gardens/x", "admin"),
        ("GET /audit", "admin"),
    ],
)
async def test_a_role_may_do_what_is_for_it_and_for_those_below(
    admin: httpx.AsyncClient,
    texts: dict[str, str],
    call: str,
    least: str,
) -> None:
    order = list(texts)

    for role, text in texts.items():
        answer = await admin.request(*call.split(), headers=bearer(text))

        refused = order.index(role) < order.index(least)
        assert (answer.status_code == 403) == refused, (role, answer.text)
        if refused:
            detail = answer.json()["detail"]
            assert f"a token with the role {least}" in detail
            assert f"the role of 'the-{role}' is {role}" in detail


async def test_only_runs_and_draining_are_to_operate(server: Server) -> None:
    operations = [r for r in make_app(server).routes if isinstance(r, Operation)]

    changing = {o.name: o.role for o in operations if o.method not in ("GET", "HEAD")}
    runs = {o.name for o in operations if o.kind == "workflow_run"} | {"drain", "undrain"}
    for name, role in changing.items():
        assert role is (Role.OPERATE if name in runs else Role.ADMIN), name


async def test_a_method_that_is_not_there_is_no_matter_of_roles(
    client: httpx.AsyncClient, texts: dict[str, str]
) -> None:
    answers = [
        await client.request(*call, headers=bearer(texts["read"]))
        for call in (("PATCH", "/workflows/"), ("DELETE", "/nothing"))
    ]

    assert [answer.status_code for answer in answers] == [405, 404]


@pytest.fixture
async def extended(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application to which another plugin adds."""
    site = Site(tmp_path / "site-packages")
    site.folder.mkdir()
    monkeypatch.syspath_prepend(str(site.folder))
    site.install("roles_of_fruit", PLUGIN)
    server.plugins = site.load(metadata.distribution("flowdapt"), disabled=["flowdapt_probe"])
    transport = httpx.ASGITransport(make_app(server), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://flowdapt") as made:
        yield made
    site.forget()


async def test_routes_of_plugins_have_roles_too(
    extended: httpx.AsyncClient, texts: dict[str, str]
) -> None:
    async def ask(role: str, method: str, path: str) -> int:
        headers = bearer(texts[role]) if role else {}
        return (await extended.request(method, path, headers=headers)).status_code

    assert [await ask(role, "GET", "/plain") for role in ("", "read")] == [401, 200]
    assert [await ask(role, "POST", "/plain") for role in ("operate", "admin")] == [403, 200]
    assert [await ask(role, "POST", "/running") for role in ("read", "operate")] == [403, 200]
    assert await ask("", "GET", "/open") == 200
    assert [await ask(role, "GET", "/mounted/inside") for role in ("", "read")] == [401, 200]
    assert await ask("operate", "DELETE", "/mounted/inside") == 403


async def test_an_endpoint_knows_who_asks_and_not_by_what_token(
    extended: httpx.AsyncClient, texts: dict[str, str]
) -> None:
    known = await extended.get("/plain", headers=bearer(texts["read"]))
    unknown = await extended.get("/open")

    assert known.json() == ["the-read", "read", "127.0.0.1", False]
    assert unknown.json() == ["anonymous", "anyone", "127.0.0.1", False]


async def test_a_route_with_a_role_that_there_is_not_is_left_out(
    extended: httpx.AsyncClient, texts: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await extended.get("/wrong", headers=bearer(texts["admin"]))

    assert answer.status_code == 404
    told = [r.getMessage() for r in [*caplog.get_records("setup"), *caplog.records]]
    assert any("routes 'wrong' of plugin roles_of_fruit are left out" in text for text in told)
