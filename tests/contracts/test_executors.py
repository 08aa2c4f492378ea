"""The executor contract, over every executor that comes with flowdapt."""

from __future__ import annotations

import pytest
from flowdapt_local.executor import LocalExecutor
from flowdapt_workers.inline import InlineExecutor, threads

from flowdapt.executors import Executor
from flowdapt.testing import (
    AsyncCallSuite,
    CallSuite,
    ExecutorSuite,
    ProcessCallSuite,
    ProcessExecutorSuite,
    WorkerSuite,
)


class TestInlineExecutor(ExecutorSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return InlineExecutor()


class TestThreads(ExecutorSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return threads(cpus=2)


class TestLocalExecutor(ProcessExecutorSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return LocalExecutor(cpus=2)


class TestLocalWorkers(WorkerSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return LocalExecutor(cpus=2)


class TestInlineCalls(AsyncCallSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return InlineExecutor()


class TestCallsInThreads(CallSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return threads(cpus=1)


class TestLocalCalls(ProcessCallSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return LocalExecutor(cpus=1)
