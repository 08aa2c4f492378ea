"""The contract of artifacts, over the storages that the plugin is made for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flowdapt_artifacts.store import Store

from flowdapt.objects import Artifacts
from flowdapt.testing import ArtifactsSuite
from tests.object_storages import new_bucket


class TestOnDisk(ArtifactsSuite):
    @pytest.fixture
    def make_artifacts(self, tmp_path: Path) -> Callable[[], Artifacts]:
        return lambda: Store("file", str(tmp_path), {})


class TestInMemory(ArtifactsSuite):
    @pytest.fixture
    def make_artifacts(self) -> Callable[[], Artifacts]:
        base_path = f"/{uuid4().hex}"
        return lambda: Store("memory", base_path, {})


class TestOnS3(ArtifactsSuite):
    @pytest.fixture
    def make_artifacts(self, s3: dict[str, Any]) -> Callable[[], Artifacts]:
        bucket = new_bucket(s3)
        return lambda: Store("s3", f"{bucket}/base", s3)
