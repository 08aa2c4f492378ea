"""Results that the SQLite storage keeps in files of their own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.errors import ResourceNotFound, StorageError
from flowdapt.runs import Run, RunState
from flowdapt.storage import INLINE_BYTES, RunQuery

pytestmark = pytest.mark.anyio

LARGE = b" " * (INLINE_BYTES + 1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    storage = SqliteStorage(app_dir=tmp_path)
    await storage.start()
    yield storage
    await storage.stop()


async def finished(storage: SqliteStorage) -> Run:
    """Return a run that has ended with a large result."""
    run = Run(workflow="w")
    await storage.add_run(run)
    end = run.to(RunState.RUNNING).to(RunState.FINISHED)
    await storage.save_run(end, was=RunState.PENDING, result=LARGE)
    return end


async def test_files_without_a_run_are_removed_at_the_start(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    run = await finished(storage)
    (kept,) = (tmp_path / "results").iterdir()
    for name in (f"{run.uid}.00000000.json", f"{Run(workflow='w').uid}.00000000.json", "notes.txt"):
        (tmp_path / "results" / name).touch()
    for path in (tmp_path / "results").iterdir():
        os.utime(path, (0, 0))
    await storage.stop()

    await storage.start()
    await storage.stop()

    assert {path.name for path in (tmp_path / "results").iterdir()} == {kept.name, "notes.txt"}


async def test_a_file_whose_row_may_still_come_is_left_to_another_process(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    run = await finished(storage)
    new = tmp_path / "results" / f"{run.uid}.00000000.json"
    new.touch()

    beside = SqliteStorage(app_dir=tmp_path)
    await beside.start()
    await beside.stop()

    assert new.exists()


async def test_the_file_of_a_result_goes_with_its_run(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    run = await finished(storage)

    await storage.delete_run(run.uid)

    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize("fault", ["shorter", "missing"])
async def test_a_damaged_result_is_reported_and_the_run_is_listed(
    storage: SqliteStorage, tmp_path: Path, fault: str
) -> None:
    run = await finished(storage)
    (file,) = (tmp_path / "results").iterdir()
    file.write_bytes(LARGE[1:])
    if fault == "missing":
        file.unlink()

    with pytest.raises(StorageError, match=f"{file.name} (has 65536 bytes instead|is missing)"):
        await storage.get_run(run.uid)

    assert len(await storage.list_runs(RunQuery())) == 1


async def test_the_file_of_a_refused_result_is_removed(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    absent = Run(workflow="w", state=RunState.FINISHED)

    with pytest.raises(ResourceNotFound):
        await storage.save_run(absent, was=RunState.RUNNING, result=LARGE)

    assert list((tmp_path / "results").iterdir()) == []
