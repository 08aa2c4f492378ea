"""A server with a few workflows, which the tests of a module share, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowdapt.client import AsyncClient, Client
from flowdapt.plugins import Plugins

from .serving import Served, workflow

WORKFLOWS = [
    workflow("echo", "echo"),
    workflow("speak", "speak"),
    *(
        workflow(name, name)
        for name in ("drip", "trickle", "pour", "spill", "relapse", "improvise")
    ),
    workflow("fruit", "pick", "weigh"),
    workflow("rotten", "pick", "sort"),
    workflow("spotty", "pick", "sort", partial=True),
]

Begin = Callable[[Callable[[], Any]], Future[Any]]


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    return Plugins.load(safe_mode=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, plugins: Plugins) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served"), plugins).running() as served:
        with Client(served.address) as client:
            for one in WORKFLOWS:
                client.workflows.create(one)
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


@pytest.fixture
async def awaited(served: Served, anyio_backend: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.address) as client:
        yield client


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file on which stages wait; at the latest it is there when the test ends."""
    yield tmp_path / "gate"
    (tmp_path / "gate").touch()


@pytest.fixture
def begin(gate: Path) -> Iterator[Begin]:
    """Do something in another thread."""
    del gate  # is to be opened before that is waited for
    with ThreadPoolExecutor() as pool:
        yield pool.submit
