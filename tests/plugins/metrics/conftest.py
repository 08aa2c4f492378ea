"""A server that counts, and clients of its application."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from flowdapt_cli.reading import settings
from flowdapt_metrics.service import MetricsService
from flowdapt_rest.app import make_app

from flowdapt.plugins import Plugins
from flowdapt.server import Server


@pytest.fixture
def overrides() -> list[str]:
    """Settings, for tests to replace."""
    return []


@pytest.fixture
def stages() -> Iterator[None]:
    """Functions that stages name as ``metrics_stages.<function>``."""

    def failing() -> None:
        raise ZeroDivisionError("no")

    module = ModuleType("metrics_stages")
    vars(module).update(well=lambda: 1, failing=failing)
    sys.modules["metrics_stages"] = module
    yield
    del sys.modules["metrics_stages"]


@pytest.fixture
async def server(
    tmp_path: Path, stages: None, overrides: list[str], anyio_backend: str
) -> AsyncIterator[Server]:
    chosen = ["services.compute.executor=inline", "telemetry.metrics_interval_ms=3600000"]
    read = settings.load(tmp_path, "-", environ={}, overrides=[*chosen, *overrides])
    async with Server(read, Plugins.load(safe_mode=True), only=frozenset({"metrics"})) as made:
        for name in ("well", "failing"):
            stage = {"name": "only", "target": f"metrics_stages.{name}"}
            workflow = {"metadata": {"name": name}, "spec": {"stages": [stage]}}
            await made.engine.create(made.engine.model("workflow"), workflow)
        yield made


@pytest.fixture
def service(server: Server) -> MetricsService:
    found = server.services["metrics"]
    assert isinstance(found, MetricsService)
    return found


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(server), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://flowdapt") as made:
        yield made
