"""The storage contract, over every storage that comes with flowdapt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.storage import Storage
from flowdapt.testing import DurableStorageSuite, StorageSuite


class TestMemoryStorage(StorageSuite):
    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        return MemoryStorage


class TestSqliteStorage(DurableStorageSuite):
    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        return lambda: SqliteStorage(app_dir=tmp_path)
