"""The names in :mod:`flowdapt.testing`, for those who read it before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowdapt_embedded.memory import MemoryStorage
    from flowdapt_workers.inline import InlineExecutor

    from flowdapt_testing.artifacts import ArtifactsSuite
    from flowdapt_testing.calls import AsyncCallSuite, CallSuite, ProcessCallSuite
    from flowdapt_testing.clocks import SimulatedClock
    from flowdapt_testing.event_rules import EventRuleSuite
    from flowdapt_testing.executors import ExecutorSuite, ProcessExecutorSuite
    from flowdapt_testing.memories import MemorySuite
    from flowdapt_testing.resources import DurableStorageSuite, StorageSuite
    from flowdapt_testing.rules import TimeRuleSuite
    from flowdapt_testing.workers import WorkerSuite

__all__ = [
    "ArtifactsSuite",
    "AsyncCallSuite",
    "CallSuite",
    "DurableStorageSuite",
    "EventRuleSuite",
    "ExecutorSuite",
    "InlineExecutor",
    "MemoryStorage",
    "MemorySuite",
    "ProcessCallSuite",
    "ProcessExecutorSuite",
    "SimulatedClock",
    "StorageSuite",
    "TimeRuleSuite",
    "WorkerSuite",
]
