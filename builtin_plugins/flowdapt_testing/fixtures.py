"""Fixtures for tests of plugins: an engine, what happened on it, and a whole server.

For all tests of a project, its outermost ``conftest.py`` has this line::

    pytest_plugins = ["flowdapt_testing.fixtures"]

Tests of ``flowdapt_engine`` are async, marked ``pytest.mark.anyio``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from flowdapt.engine import Engine
from flowdapt.events import Event
from flowdapt.executors import Host
from flowdapt.plugins import Plugins
from flowdapt.server import kinds
from flowdapt.testing import InlineExecutor, MemoryStorage
from flowdapt.walks import stage_types
from flowdapt_testing.serving import Served, serving

__all__ = [
    "Recorder",
    "Served",
    "anyio_backend",
    "flowdapt_engine",
    "flowdapt_events",
    "flowdapt_plugins",
    "flowdapt_server",
    "flowdapt_settings",
]

EVENT_SECONDS = 30.0  #: until an event that should come counts as not coming


class Recorder:
    """All events of an engine, in order, from the beginning of the test.

    :ivar all: the events
    """

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._waiting: list[tuple[str, asyncio.Future[Event]]] = []

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [event.type for event in self.all]

    def hear(self, event: Event) -> None:
        """Note an event."""
        self.all.append(event)
        for what, waiting in self._waiting:
            if event.type == what and not waiting.done():
                waiting.set_result(event)

    async def first(self, what: str, *, seconds: float = EVENT_SECONDS) -> Event:
        """Return the first event of a type, once there is one.

        :param what: the type, such as :data:`flowdapt.events.RUN_FINISHED`
        :raises AssertionError: none comes in time; says which came
        """
        for event in self.all:
            if event.type == what:
                return event
        waiting: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting.append((what, waiting))
        try:
            return await asyncio.wait_for(waiting, seconds)
        except TimeoutError:
            raise AssertionError(f"no {what} in {seconds:g} s, only {self.types}") from None


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that flowdapt runs in."""
    return "asyncio"


@pytest.fixture(scope="session")
def flowdapt_plugins() -> Plugins:
    """All plugins that are installed, the one under test among them."""
    return Plugins.load()


@pytest.fixture
async def flowdapt_engine(flowdapt_plugins: Plugins, tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine that forgets everything and computes in this process, where breakpoints stop.

    It knows the kinds, stage types and policies of all plugins, and tells them of events. Services,
    such as that of triggers, are not there: for these there is ``flowdapt_server``.
    """
    storage = MemoryStorage()
    engine = Engine(
        storage,
        InlineExecutor(),
        Host(app_dir=tmp_path),
        kinds=kinds(flowdapt_plugins),
        types=stage_types(flowdapt_plugins),
    )
    engine.govern(flowdapt_plugins)
    with engine.events.listening(flowdapt_plugins.notify):
        await engine.start()
        yield engine
        await engine.stop()


@pytest.fixture
def flowdapt_events(flowdapt_engine: Engine) -> Iterator[Recorder]:
    """What happens on ``flowdapt_engine``."""
    recorder = Recorder()
    with flowdapt_engine.events.listening(recorder.hear):
        yield recorder


@pytest.fixture(scope="module")
def flowdapt_settings() -> Sequence[str]:
    """Settings of ``flowdapt_server``, such as ``services.compute.executor=inline``.

    There are none until a test module, or a ``conftest.py``, has a fixture of this name.
    """
    return ()


@pytest.fixture(scope="module")
def flowdapt_server(
    flowdapt_settings: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server in a process of its own, for all tests of a module, with all plugins.

    It has a folder of its own for its files, and nothing of the settings of whoever runs the tests.
    """
    with serving(tmp_path_factory.mktemp("flowdapt"), *flowdapt_settings) as served:
        yield served
