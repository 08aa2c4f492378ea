"""What every storage does with bytes: those of elements of runs, and those under keys."""

# ruff: noqa: S101 - a suite is made of asserts

from __future__ import annotations

from uuid import uuid4

import pytest

from flowdapt.errors import ResourceNotFound
from flowdapt.runs import Run, RunState
from flowdapt.storage import Storage


class BlobSuite:
    """The part of :class:`flowdapt_testing.resources.StorageSuite` that is about bytes."""

    async def test_chunks_of_a_run_come_back_by_stage_in_their_order(
        self, storage: Storage
    ) -> None:
        run, other = Run(workflow="w"), Run(workflow="w")
        for one in (run, other):
            await storage.add_run(one)
        for stage, chunk in (("a", b"1"), ("b", b"2"), ("a", b"\0\xff")):
            await storage.save_chunk(run.uid, stage, chunk)
        await storage.save_chunk(other.uid, "a", b"3")

        assert await storage.list_chunks(run.uid) == {"a": [b"1", b"\0\xff"], "b": [b"2"]}
        await storage.save_chunk(run.uid, "a", None)
        assert await storage.list_chunks(run.uid) == {"b": [b"2"]}
        assert await storage.list_chunks(other.uid) == {"a": [b"3"]}

    async def test_chunks_need_a_run_and_go_with_it(self, storage: Storage) -> None:
        run = Run(workflow="w")
        with pytest.raises(ResourceNotFound):
            await storage.save_chunk(run.uid, "a", b"1")
        await storage.add_run(run)
        await storage.save_chunk(run.uid, "a", b"1")

        await storage.delete_run(run.uid)

        assert await storage.list_chunks(run.uid) == {}
        assert await storage.list_chunks(uuid4()) == {}

    async def test_chunks_of_a_run_that_goes_on_stay(self, storage: Storage) -> None:
        run = Run(workflow="w").to(RunState.RUNNING)
        await storage.add_run(run)
        await storage.save_chunk(run.uid, "a", b"1")

        again = run.model_copy(update={"resumed": 1})
        await storage.save_run(again, was=RunState.RUNNING)

        assert await storage.list_chunks(run.uid) == {"a": [b"1"]}
        assert (await storage.find_run(run.uid)).resumed == 1

    async def test_bytes_are_found_under_their_key(self, storage: Storage) -> None:
        await storage.save_blob("a/1", b"one")
        await storage.save_blob("a/2", b"two", seconds=3600)
        await storage.save_blob("b/1", b"", seconds=3600)
        await storage.save_blob("a/1", b"other")

        found = [await storage.load_blob(key) for key in ("a/1", "a/2", "b/1", "a/", "A/1")]

        assert found == [b"other", b"two", b"", None, None]

    async def test_bytes_are_gone_once_their_time_is_up_or_they_are_removed(
        self, storage: Storage
    ) -> None:
        await storage.save_blob("a/1", b"one", seconds=0)
        await storage.save_blob("a/2", b"two")
        await storage.save_blob("a0", b"three")
        assert await storage.load_blob("a/1") is None

        await storage.delete_blobs("a/")

        found = [await storage.load_blob(key) for key in ("a/1", "a/2", "a0")]
        assert found == [None, None, b"three"]
