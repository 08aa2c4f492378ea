"""The storage keeps the contract of storages, over a crash, and in a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from flowdapt.events import Event
from flowdapt.storage import Storage
from flowdapt.testing import DurableStorageSuite
from flowdapt_testing.fixtures import Served

from {{ cookiecutter.module }}.storage import JournalStorage

NAME = "{{ cookiecutter.module }}"
WORKFLOW = {
    "kind": "workflow",
    "metadata": {"name": "text"},
    "spec": {"stages": [{"name": "dump", "target": "json.dumps"}]},
}


class TestJournalStorage(DurableStorageSuite):
    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        return lambda: JournalStorage(app_dir=tmp_path)


@pytest.mark.anyio
async def test_a_change_that_was_cut_off_in_a_crash_is_forgotten(tmp_path: Path) -> None:
    storage = JournalStorage(app_dir=tmp_path)
    await storage.start()
    await storage.append_event(Event(type="first", data={}))
    await storage.append_event(Event(type="second", data={}))
    await storage.stop()
    storage.file.write_bytes(storage.file.read_bytes()[:-10])

    await storage.start()
    last = await storage.last_event()
    await storage.stop()

    assert last == 1


@pytest.fixture(scope="module")
def flowdapt_settings() -> Sequence[str]:
    return [f"database={NAME}"]


def test_a_server_keeps_its_runs_there(flowdapt_server: Served) -> None:
    client = flowdapt_server.client
    client.workflows.apply(WORKFLOW)

    run = client.runs.run("text", {"obj": [1]})

    assert client.runs.get(run.uid).result == "[1]"
    assert (flowdapt_server.app_dir / "journal.pickle").stat().st_size
