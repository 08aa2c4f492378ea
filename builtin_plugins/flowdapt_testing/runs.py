"""What every storage does with runs, their stages and their logs."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowdapt.errors import ResourceExists, ResourceNotFound, UnlawfulTransition
from flowdapt.resources import now
from flowdapt.runs import Failure, Run, RunState, StageRecord
from flowdapt.storage import INLINE_BYTES, RUN_KIND, LogBlock, RunQuery, Storage

ODD_TEXT = "grüß 世界 \0 \U0001f40c '\"; --"


class RunSuite:
    """The part of :class:`flowdapt_testing.resources.StorageSuite` that is about runs."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        raise TypeError("a subclass of StorageSuite overrides the fixture `make_storage`")

    @pytest.fixture
    async def storage(self, make_storage: Callable[[], Storage]) -> AsyncIterator[Storage]:
        storage = make_storage()
        await storage.start()
        yield storage
        await storage.stop()

    @staticmethod
    async def ended(
        storage: Storage, run: Run, *, result: bytes | memoryview | None = None, ago: float = 0
    ) -> Run:
        """Store ``run`` as accepted and as finished, ``ago`` seconds in the past."""
        await storage.add_run(run)
        end = run.to(RunState.RUNNING).to(RunState.FINISHED)
        end = end.model_copy(update={"finished_at": now() - timedelta(seconds=ago)})
        await storage.save_run(end, was=RunState.PENDING, result=result)
        return end

    @staticmethod
    async def listed(storage: Storage, **query: Any) -> list[str]:
        """Return the names of the runs that a query finds."""
        return [stored.run.name for stored in await storage.list_runs(RunQuery(**query))]

    # Runs

    async def test_a_run_is_found_by_uid_and_by_name(self, storage: Storage) -> None:
        run = Run(
            workflow="w", source="api", input={"text": ODD_TEXT, "list": [1, None, {"a": 2.5}]}
        )

        await storage.add_run(run)

        for identifier in (run.uid, run.name):
            stored = await storage.get_run(identifier)
            assert (stored.run, stored.result, stored.result_bytes) == (run, None, 0)

    async def test_of_runs_with_one_name_the_newest_is_found(self, storage: Storage) -> None:
        runs = [Run(workflow="w", name="twin") for _ in range(2)]
        for run in runs:
            await storage.add_run(run)

        stored = await storage.get_run("twin")

        assert stored.run == runs[1]

    async def test_a_uid_is_not_taken_twice(self, storage: Storage) -> None:
        run = Run(workflow="w")
        await storage.add_run(run)

        with pytest.raises(ResourceExists) as caught:
            await storage.add_run(run.model_copy(update={"workflow": "other"}))

        assert (caught.value.kind, caught.value.name) == (RUN_KIND, run.name)
        assert (await storage.get_run(run.uid)).run == run

    @pytest.mark.parametrize("identifier", ["absent", "\ud800", uuid4()])
    async def test_a_missing_run_is_named(self, storage: Storage, identifier: str | UUID) -> None:
        with pytest.raises(ResourceNotFound) as caught:
            await storage.get_run(identifier)

        assert (caught.value.kind, caught.value.name) == (RUN_KIND, str(identifier))

    @pytest.mark.parametrize("result", [b"", b"null", b"[1]", memoryview(b'{"a": "\\u0000"}')])
    async def test_a_result_is_stored_with_the_state(
        self, storage: Storage, result: bytes | memoryview
    ) -> None:
        run = await self.ended(storage, Run(workflow="w"), result=result)

        (listed,) = await storage.list_runs(RunQuery())

        assert listed == await storage.get_run(run.uid)
        assert (listed.run, listed.result) == (run, bytes(result))
        assert listed.result_bytes == len(result)

    async def test_a_failure_is_kept_whole(self, storage: Storage) -> None:
        run = Run(workflow="w")
        failure = Failure(type="E", message=ODD_TEXT, traceback="a\nb", stage="s", item=3)
        await storage.add_run(run)
        failed = run.to(RunState.FAILED, failure=failure)

        await storage.save_run(failed, was=RunState.PENDING)

        assert (await storage.get_run(run.uid)).run == failed

    @pytest.mark.parametrize("size", [INLINE_BYTES, INLINE_BYTES + 1, 5_000_000])
    async def test_results_are_listed_up_to_the_limit(self, storage: Storage, size: int) -> None:
        result = b"[" + b"1," * (size // 2 - 1) + b" " * (size % 2) + b"]"
        run = await self.ended(storage, Run(workflow="w"), result=memoryview(result))

        (listed,) = await storage.list_runs(RunQuery())

        assert (listed.run, listed.result_bytes) == (run, size)
        assert listed.result == (result if size <= INLINE_BYTES else None)
        assert (await storage.get_run(run.name)).result == result
        assert await storage.find_run(run.uid) == (await storage.get_run(run.uid)).run

    async def test_the_last_stage_is_stored_with_the_runs_end_or_not_at_all(
        self, storage: Storage
    ) -> None:
        run, record = Run(workflow="w").to(RunState.RUNNING), StageRecord(stage="last")
        await storage.add_run(run)

        with pytest.raises(UnlawfulTransition):
            await storage.save_run(run.to(RunState.FINISHED), was=RunState.PENDING, last=record)
        assert await storage.list_stages(run.uid) == []
        await storage.save_run(run.to(RunState.FINISHED), was=RunState.RUNNING, last=record)

        assert await storage.list_stages(run.uid) == [record]

    @pytest.mark.parametrize("size", [1, INLINE_BYTES + 1])
    async def test_only_one_of_two_ends_is_stored(self, storage: Storage, size: int) -> None:
        run = Run(workflow="w")
        await storage.add_run(run)
        await storage.save_run(run := run.to(RunState.RUNNING), was=RunState.PENDING)
        ends = [run.to(RunState.FINISHED), run.to(RunState.CANCELLED)]

        outcomes = await asyncio.gather(
            *(
                storage.save_run(end, was=RunState.RUNNING, result=f"{end.state:{size}}".encode())
                for end in ends
            ),
            return_exceptions=True,
        )

        (error,) = [outcome for outcome in outcomes if outcome is not None]
        won, lost = ends if outcomes[0] is None else ends[::-1]
        assert isinstance(error, UnlawfulTransition)
        assert (error.run, error.old, error.new) == (run.name, won.state, lost.state)
        stored = await storage.get_run(run.uid)
        assert (stored.run, stored.result) == (won, f"{won.state:{size}}".encode())

    @pytest.mark.parametrize("result", [None, b"1", b" " * (INLINE_BYTES + 1)])
    async def test_the_end_of_a_deleted_run_is_refused(
        self, storage: Storage, result: bytes | None
    ) -> None:
        run = Run(workflow="w")
        await storage.add_run(run)
        await storage.delete_run(run.uid)

        with pytest.raises(ResourceNotFound) as caught:
            await storage.save_run(run.to(RunState.FAILED), was=RunState.PENDING, result=result)

        assert caught.value.kind == RUN_KIND
        assert caught.value.name in (run.name, str(run.uid))
        assert await self.listed(storage) == []

    async def test_what_json_has_no_place_for_breaks_neither_storing_nor_listing(
        self, storage: Storage
    ) -> None:
        class Unspeakable:
            def __str__(self) -> str:
                raise ValueError("no text for this")

        deep: list[Any] = []
        for _ in range(2_000):
            deep = [deep]
        around: dict[str, Any] = {}
        around["self"] = around
        odd = [
            2**200, "\ud800", {"\udfff": 1}, {1: 2, None: 3}, b"\xff", float("nan"), {1, 2}, (1,),
            Decimal("1.5"), Unspeakable(), object, now(), uuid4(), deep, around, range(3),
        ]  # fmt: skip
        runs = [Run(workflow="w", input={"odd": value, "kept": 1}) for value in odd]

        for run in runs:
            await storage.add_run(run)
            end = run.to(RunState.FAILED, failure=Failure(type="E", message="\udc80"))
            await storage.save_run(end, was=RunState.PENDING)

        stored = await storage.list_runs(RunQuery())
        assert [s.run.uid for s in stored] == [run.uid for run in reversed(runs)]
        assert all(s.run.input["kept"] == 1 for s in stored)
        assert stored[-1].run.input["odd"] in (2**200, str(2**200))

    # Lists of runs

    async def test_runs_are_listed_newest_first(self, storage: Storage) -> None:
        runs = [Run(workflow="w", name=f"r{i}") for i in range(250)]
        await asyncio.gather(*(storage.add_run(run) for run in runs))

        newest_first = [f"r{i}" for i in reversed(range(250))]
        assert await self.listed(storage) == newest_first
        assert await self.listed(storage, limit=120) == newest_first[:120]
        assert await self.listed(storage, limit=0) == []

    async def test_filters_and_cursor_narrow_a_list_together(self, storage: Storage) -> None:
        runs = [Run(workflow="even" if i % 2 == 0 else "odd", name=f"r{i}") for i in range(8)]
        for i, run in enumerate(runs):
            await storage.add_run(run)
            if i < 5:
                await storage.save_run(run.to(RunState.FAILED), was=RunState.PENDING)
        failed, open_ = (RunState.FAILED,), (RunState.PENDING, RunState.RUNNING)

        assert await self.listed(storage, workflow="even") == ["r6", "r4", "r2", "r0"]
        assert await self.listed(storage, workflow="even", states=failed) == ["r4", "r2", "r0"]
        assert await self.listed(storage, states=failed, limit=2) == ["r4", "r3"]
        assert await self.listed(storage, states=open_) == ["r7", "r6", "r5"]
        assert await self.listed(storage, states={*failed, *open_}, limit=3) == ["r7", "r6", "r5"]
        assert await self.listed(storage, cursor=runs[3].uid) == ["r2", "r1", "r0"]
        assert await self.listed(storage, workflow="odd", cursor=runs[4].uid, limit=1) == ["r3"]
        assert await self.listed(storage, workflow="odd", states=open_, cursor=runs[7].uid) == [
            "r5"
        ]
        assert await self.listed(storage, workflow="absent") == []

    async def test_a_list_can_begin_with_the_oldest(self, storage: Storage) -> None:
        runs = [Run(workflow="even" if i % 2 == 0 else "odd", name=f"r{i}") for i in range(120)]
        await asyncio.gather(*(storage.add_run(run) for run in runs))
        for run in runs[:4]:
            await storage.save_run(run.to(RunState.FAILED), was=RunState.PENDING)
        oldest: dict[str, Any] = {"newest_first": False}

        assert await self.listed(storage, **oldest) == [f"r{i}" for i in range(120)]
        assert await self.listed(storage, **oldest, cursor=runs[1].uid, limit=2) == ["r2", "r3"]
        assert await self.listed(storage, **oldest, workflow="odd", limit=2) == ["r1", "r3"]
        assert await self.listed(storage, **oldest, cursor=runs[-1].uid) == []
        failed = {**oldest, "states": (RunState.FAILED,)}
        assert await self.listed(storage, **failed, cursor=runs[0].uid) == ["r1", "r2", "r3"]

    async def test_runs_are_found_by_the_time_of_their_acceptance(self, storage: Storage) -> None:
        begun = now()
        times = [begun + timedelta(minutes=i) for i in range(6)]
        runs = [Run(workflow="w", name=f"r{i}", started_at=time) for i, time in enumerate(times)]
        for run in runs:
            await storage.add_run(run)
        await storage.delete_run(runs[3].uid)
        some = {"since": times[1], "until": times[5]}

        assert await self.listed(storage, since=times[4]) == ["r5", "r4"]
        assert await self.listed(storage, until=times[2]) == ["r1", "r0"]
        assert await self.listed(storage, **some) == ["r4", "r2", "r1"]
        assert await self.listed(storage, **some, newest_first=False) == ["r1", "r2", "r4"]
        assert await self.listed(storage, **some, cursor=runs[4].uid, limit=1) == ["r2"]
        assert await self.listed(storage, **some, cursor=runs[0].uid) == []
        assert await self.listed(storage, **some, workflow="absent") == []
        assert await self.listed(storage, since=times[5] + timedelta(seconds=1)) == []
        assert await self.listed(storage, until=begun) == []

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_a_cursor_that_is_no_run_is_refused(
        self, storage: Storage, *, newest_first: bool
    ) -> None:
        await storage.add_run(gone := Run(workflow="w"))
        await storage.delete_run(gone.uid)

        for cursor in (uuid4(), gone.uid):
            with pytest.raises(ResourceNotFound) as caught:
                await storage.list_runs(RunQuery(cursor=cursor, newest_first=newest_first))
            assert (caught.value.kind, caught.value.name) == (RUN_KIND, str(cursor))

    async def test_runs_that_ended_long_ago_are_found_oldest_first(self, storage: Storage) -> None:
        await storage.add_run(Run(workflow="w"))
        ages = (30, 500, 400, 600)
        runs = {ago: await self.ended(storage, Run(workflow="w"), ago=ago) for ago in ages}

        assert await storage.expired_runs(60, limit=2) == [runs[600].uid, runs[500].uid]
        assert len(await storage.expired_runs(60, limit=10)) == 3

    async def test_a_deleted_run_takes_all_it_had_with_it(self, storage: Storage) -> None:
        gone, kept = Run(workflow="w"), Run(workflow="w")
        for run in (gone, kept):
            await self.ended(storage, run, result=b" " * (INLINE_BYTES + 1))
            await storage.save_stage(run.uid, StageRecord(stage="s"))
            for _ in range(200):
                await storage.append_log(run.uid, LogBlock("s", b"{}", 1))

        await storage.delete_run(gone.uid)

        assert await self.listed(storage) == [kept.name]
        assert await storage.list_stages(gone.uid) == []
        assert await storage.read_log(gone.uid) == {}
        assert len(await storage.list_stages(kept.uid)) == 1
        assert len(await storage.read_log(kept.uid, limit=500)) == 200
        with pytest.raises(ResourceNotFound):
            await storage.delete_run(gone.uid)

    # Stages and logs

    async def test_stages_stay_in_the_order_of_their_first_storing(self, storage: Storage) -> None:
        await storage.add_run(run := Run(workflow="w"))
        records = [StageRecord(stage=name) for name in ("load", ODD_TEXT, "clean")]
        for record in records:
            await storage.save_stage(run.uid, record)
        failure = Failure(type="E", message="no")
        facts = {"state": RunState.FAILED, "items": 5, "failures": (failure,), "result": b"\x80\0"}
        records[0] = records[0].model_copy(update=facts)

        await storage.save_stage(run.uid, records[0])

        assert await storage.list_stages(run.uid) == records

    async def test_what_is_known_of_the_elements_of_a_stage_is_stored_with_it(
        self, storage: Storage
    ) -> None:
        await storage.add_run(run := Run(workflow="w").to(RunState.RUNNING))
        elements = {name: name.encode() + b"\0\xff" * 100_000 for name in ("each", "last")}
        records = [StageRecord(stage=name, elements=elements[name]) for name in elements]
        await storage.save_stage(run.uid, StageRecord(stage="each"))

        await storage.save_stage(run.uid, records[0])
        await storage.save_run(run.to(RunState.FINISHED), was=run.state, last=records[1])

        assert [record.elements for record in await storage.list_stages(run.uid)] == [
            *elements.values()
        ]
        await storage.save_stage(run.uid, StageRecord(stage="each"))
        assert (await storage.list_stages(run.uid))[0].elements is None

    async def test_stages_and_lines_need_a_run(self, storage: Storage) -> None:
        absent = uuid4()

        with pytest.raises(ResourceNotFound) as caught:
            await storage.save_stage(absent, StageRecord(stage="s"))
        with pytest.raises(ResourceNotFound):
            await storage.append_log(absent, LogBlock("s", b"{}", 1))

        assert (caught.value.kind, caught.value.name) == (RUN_KIND, str(absent))
        assert await storage.list_stages(absent) == []
        assert await storage.read_log(absent) == {}

    async def test_a_log_is_read_on_from_where_it_was_left(self, storage: Storage) -> None:
        run, other = Run(workflow="w"), Run(workflow="w")
        await storage.add_run(run)
        await storage.add_run(other)
        blocks = [LogBlock("s", f"{i}".encode(), i) for i in range(1, 6)]
        for block in blocks:
            await storage.append_log(run.uid, block)
            await storage.append_log(other.uid, block)

        first = await storage.read_log(run.uid, limit=3)
        rest = await storage.read_log(run.uid, after=max(first))

        assert list(first) == [1, 2, 3]
        assert list(rest) == [4, 5]
        assert [*first.values(), *rest.values()] == blocks
        assert await storage.read_log(run.uid, after=5) == {}
