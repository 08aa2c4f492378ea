"""For tests of plugins: one suite for each contract, which every implementation passes.

A suite is a class to derive from, found by its name through the hook ``flowdapt_suites``::

    from flowdapt.testing import StorageSuite

    class TestMyStorage(StorageSuite):
        ...

Suites need pytest and anyio. For tests of other kinds there are a storage that forgets everything,
``MemoryStorage``, an executor that computes in this process, ``InlineExecutor``, and a clock that
tests set, ``SimulatedClock``. Fixtures for pytest are in ``flowdapt_testing.fixtures``: an engine,
what happened on it, and a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flowdapt.plugins import Plugins

if TYPE_CHECKING:
    from flowdapt_testing.public import *  # noqa: F403

_PARTS = {"InlineExecutor": ("executors", "inline"), "MemoryStorage": ("storages", "memory")}


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    plugins = Plugins.load()
    if name in _PARTS:
        return plugins.resolve(*_PARTS[name])
    suites = plugins.providers("suites")
    if name not in suites:
        raise AttributeError(f"no plugin offers a suite named {name!r}; there are {sorted(suites)}")
    # So that the suite's asserts tell what they compared.
    pytest.register_assert_rewrite(suites[name].target.partition(":")[0])
    return plugins.resolve("suites", name)
