"""Routes and layers that other plugins offer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

import httpx
import pytest
from flowdapt_rest.app import make_app

from tests.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

PLUGIN = """
from starlette.responses import JSONResponse
from starlette.routing import Route

@hookimpl(optionalhook=True)
def flowdapt_routes():
    return [Provider(name, "{name}:" + name) for name in ("sound", "raising", "wrong", "absent")]

@hookimpl(optionalhook=True)
def flowdapt_layers():
    return [Provider("noting", "{name}:noting"), Provider("broken", "{name}:broken")]

def sound(server):
    return [Route("/orchard", orchard), Route("/status", orchard)]

def raising(server):
    raise LookupError("on purpose")

def wrong(server):
    return ["/orchard"]

async def orchard(request):
    state = request.app.state
    schema = state.negotiate(request, "orchard")
    return schema.reply(b"[%d]" % state.query.integer(request, "trees", default=3))

def noting(app, server):
    async def noted(scope, receive, send):
        async def sending(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-noted", b"yes")]
            await send(message)
        await app(scope, receive, sending)
    return noted

def broken(app, server):
    raise LookupError("on purpose")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path / "site-packages")
    made.folder.mkdir()
    monkeypatch.syspath_prepend(str(made.folder))
    yield made
    made.forget()


@pytest.fixture
async def extended(server: Server, site: Site) -> httpx.AsyncClient:
    """A client of an application that another plugin adds to."""
    site.install("fruit", PLUGIN)
    server.plugins = site.load(metadata.distribution("flowdapt"), disabled=["flowdapt_probe"])
    transport = httpx.ASGITransport(make_app(server), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://flowdapt")


async def test_a_route_of_another_plugin_reads_and_replies_as_ours_do(
    extended: httpx.AsyncClient,
) -> None:
    response = await extended.get("/orchard?trees=5")

    assert response.json() == [5]
    assert response.headers["content-type"] == "application/vnd.flowdapt.ai.orchard.v1alpha1+json"


async def test_what_it_refuses_has_the_form_of_all_errors(extended: httpx.AsyncClient) -> None:
    wrong = await extended.get("/orchard?trees=many")
    unknown = await extended.get("/orchard", headers={"X-API-Version": "orchard.v9"})

    assert (wrong.status_code, wrong.json()["status_code"]) == (422, 422)
    assert (unknown.status_code, unknown.json()["status_code"]) == (400, 400)


async def test_no_plugin_takes_a_route_of_ours(extended: httpx.AsyncClient) -> None:
    assert "hostname" in (await extended.get("/status")).json()


async def test_a_layer_of_another_plugin_sees_every_reply(extended: httpx.AsyncClient) -> None:
    for path in ("/orchard", "/status", "/nothing"):
        assert (await extended.get(path)).headers["x-noted"] == "yes"


async def test_what_fails_is_left_out_and_named(
    extended: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await extended.get("/")

    records = [*caplog.get_records("setup"), *caplog.records]
    told = " ".join(f"{record.getMessage()} {record.exc_info}" for record in records)
    for name in ("raising", "wrong"):
        assert f"routes {name!r} of plugin fruit are left out" in told
    assert "layer 'broken' of plugin fruit is left out" in told
    assert "routes 'absent' are left out" in told
    assert "route 'absent' of the plugin fruit cannot be imported" in told
