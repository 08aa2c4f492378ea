"""A server in memory whose stages the tests hold the reins of, and clients of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, ClassVar, Literal

import httpx
import pytest
from flowdapt_cli.reading import settings
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_rest.app import make_app
from flowdapt_rest.roles import Role
from flowdapt_rest.service import RestService
from flowdapt_rest.tokens import Tokens
from flowdapt_workers.inline import InlineExecutor
from flowdapt_workers.targets import built_in_types

from flowdapt.engine import Engine
from flowdapt.executors import Host
from flowdapt.plugins import Plugins
from flowdapt.resources import KINDS, Resource
from flowdapt.server import Server
from tests.plugins.rest.callers import WORKFLOW, bearer
from tests.plugins.rest.replies import Replies

GOVERNING = Plugins.load(safe_mode=True)  #: whose policies runs follow


class Garden(Resource):
    """A kind as a plugin would offer it."""

    collection: ClassVar[str] = "gardens"

    kind: Literal["garden"] = "garden"
    spec: dict[str, Any]


class Stages:
    """Functions that stages of the tests name as ``rest_stages.<function>``."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()  #: a stage waits at the gate
        self.gate = asyncio.Event()  #: lets it go on
        self.mended = False

    def echo(self, **kwargs: Any) -> Any:
        """Return what was given."""
        return kwargs

    async def waiting(self) -> str:
        """Return once the gate is open."""
        self.reached.set()
        await self.gate.wait()
        return "through"

    def failing(self) -> None:
        """Raise."""
        raise ZeroDivisionError("no")

    def picky(self, n: int) -> int:
        """Return a number, if it is even or the tests mend it."""
        if n % 2 and not self.mended:
            raise ValueError(f"{n} is odd")
        return n

    def total(self, numbers: list[int]) -> int:
        """Return the sum."""
        return sum(numbers)

    def large(self) -> str:
        """Return more than a list of runs holds."""
        return "x" * 100_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def stages() -> Iterator[Stages]:
    made = Stages()
    module = ModuleType("rest_stages")
    for name in ("echo", "waiting", "failing", "large", "picky", "total"):
        setattr(module, name, getattr(made, name))
    sys.modules["rest_stages"] = module
    yield made
    del sys.modules["rest_stages"]


@pytest.fixture
def overrides() -> list[str]:
    """Settings, for tests to replace."""
    return []


@pytest.fixture
async def server(
    tmp_path: Any, stages: Stages, overrides: list[str], anyio_backend: str
) -> AsyncIterator[Server]:
    """A server without services."""
    read = settings.load(tmp_path, "-", environ={}, overrides=["rpc.api.port=0", *overrides])
    made = Server(read, Plugins())
    made.storage, made.executor = MemoryStorage(), InlineExecutor()
    made.engine = Engine(
        made.storage,
        made.executor,
        Host(app_dir=tmp_path),
        types=built_in_types(),
        kinds={**KINDS, "garden": Garden},
    )
    made.engine.govern(GOVERNING)
    await made.engine.start()
    yield made
    await made.engine.stop()


async def check_error(response: httpx.Response) -> None:
    """Hold every error to the shape that published clients parse."""
    if response.status_code >= 400:
        await response.aread()
        body = response.json()
        assert response.headers["content-type"] == "application/json"
        assert body["status_code"] == response.status_code
        assert isinstance(body["detail"], str)
        assert body["detail"]
        assert body.keys() <= {"detail", "status_code", "errors"}
        assert all(error.keys() == {"loc", "msg", "type"} for error in body.get("errors", []))


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, without a socket between."""
    app = make_app(server)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    checks = {"response": [check_error, Replies.of(app).check]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://flowdapt", event_hooks=checks
    ) as made:
        yield made


@pytest.fixture
async def workflows(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The same client, with a workflow of one stage for each function, under its name."""
    for name in ("echo", "waiting", "failing", "large"):
        stage = {"name": "only", "target": f"rest_stages.{name}"}
        workflow = {"metadata": {"name": name}, "spec": {"stages": [stage]}}
        assert (await client.post("/workflows/", json=workflow)).status_code == 200
    return client


@pytest.fixture
async def live(server: Server, workflows: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A client over a real socket, which streams replies; the same workflows are there."""
    del workflows
    service = RestService(server)
    await service.start()
    async with httpx.AsyncClient(base_url=server.addresses["rest"], timeout=30) as made:
        yield made
    await service.stop()


@pytest.fixture
async def texts(server: Server) -> dict[str, str]:
    """A token of each role, under the role's name."""
    tokens = Tokens(server.engine.storage)
    roles = (Role.READ, Role.OPERATE, Role.ADMIN)
    return {role.value: (await tokens.create(f"the-{role}", role))[1] for role in roles}


@pytest.fixture
async def admin(client: httpx.AsyncClient, texts: dict[str, str]) -> httpx.AsyncClient:
    """The client with a token that may do everything, and a workflow."""
    client.headers.update(bearer(texts["admin"]))
    assert (await client.post("/workflows/", json=WORKFLOW)).status_code == 200
    return client
