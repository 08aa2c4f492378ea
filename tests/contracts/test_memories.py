"""The contract of a memory, over every memory that comes with flowdapt."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowdapt_memory.owners import OwnMemory

from flowdapt.objects import Memory
from flowdapt.testing import MemorySuite


class TestShm(MemorySuite):
    @pytest.fixture
    def memory(self, tmp_path: Path) -> Memory:
        return OwnMemory(app_dir=tmp_path)


class TestOnDiskAlone(MemorySuite):
    """All of it goes to disk, because there is no room in memory."""

    @pytest.fixture
    def memory(self, tmp_path: Path) -> Memory:
        return OwnMemory(app_dir=tmp_path, capacity=0)

    def test_a_list_tells_what_there_is(self, memory: Memory) -> None:
        memory.put("farm", "cow", [b"moo"], size=3)

        assert [(entry.key, entry.place) for entry in memory.list("farm")] == [("cow", "disk")]


class TestInOrdinaryFiles(MemorySuite):
    """Where the system has no shared memory."""

    @pytest.fixture
    def memory(self, tmp_path: Path) -> Memory:
        return OwnMemory(app_dir=tmp_path, folder=str(tmp_path))
