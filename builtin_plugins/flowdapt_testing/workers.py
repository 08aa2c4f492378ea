"""What every executor does whose workers import user modules, die, and are told to stop."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from flowdapt_workers.tallies import UNKNOWN, unpacked

from flowdapt.events import ITEM_YIELDED, Event
from flowdapt.executors import LOST_ATTEMPTS
from flowdapt.runs import RunState
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage
from flowdapt_testing.stopping import StoppingSuite


class WorkerSuite(StoppingSuite):
    """What every executor does that computes in processes of this machine or of a cluster.

    Its workers must see the files of this machine. A subclass says how one is made, with two
    processors, and not yet started::

        class TestMyExecutor(WorkerSuite):
            @pytest.fixture
            def executor(self):
                return MyExecutor(cpus=2)
    """

    # Workers that die

    @pytest.mark.parametrize("deed", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
    async def test_a_run_whose_stage_kills_its_worker_fails_and_names_the_stage(
        self, desk: Desk, deed: str
    ) -> None:
        user = desk.defined(f"import os\ndef dies(): {deed}\ndef fine(): return 1")

        stored = await desk.run(stage("deadly", user.dies))

        assert stored.run.failure is not None
        assert stored.run.failure.type == "WorkerLost"
        assert "stage 'deadly' lost its worker process" in stored.run.failure.message
        assert "3 times in a row" in stored.run.failure.message
        assert await desk.result(stage("a", user.fine)) == 1

    async def test_a_stage_that_loses_its_worker_once_is_tried_again(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        user = desk.defined("""
            import os
            def dies_once(mark):
                if not os.path.exists(mark):
                    open(mark, "w").close()
                    os._exit(1)
                return "done"
        """)

        stored = await desk.run(stage("a", user.dies_once), mark=str(tmp_path / "mark"))

        assert json.loads(stored.result or b"") == "done"
        assert (await desk.record(stored)).attempts == 2

    async def test_what_a_generator_yields_comes_again_after_its_worker_was_lost(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        user = desk.defined("""
            import os, time
            def dies_once(mark):
                yield "first"
                yield "second"
                if not os.path.exists(mark):
                    open(mark, "w").close()
                    time.sleep(0.5)
                    os._exit(1)
                yield "third"
        """)
        told: list[tuple[int, Any]] = []

        def hear(event: Event) -> None:
            told.append((event.data["number"], json.loads(event.data["item"])))

        with desk.engine.events.listening(hear, ITEM_YIELDED):
            stored = await desk.run(stage("a", user.dies_once), mark=str(tmp_path / "mark"))

        first = [(0, "first"), (1, "second")]
        assert json.loads(stored.result or b"") == ["first", "second", "third"]
        assert told == [*first, *first, (2, "third")]

    async def test_runs_on_other_workers_go_on_when_one_dies(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        user = desk.defined("""
            import os, time
            def waits(mark):
                while not os.path.exists(mark): time.sleep(0.005)
                return os.getpid()
            def dies(): os._exit(1)
        """)
        mark = tmp_path / "mark"
        slow = await desk.begin(stage("a", user.waits), mark=str(mark))

        died = await desk.run(stage("b", user.dies))
        mark.touch()
        stored = await desk.engine.wait(slow.uid)

        assert died.run.state is RunState.FAILED
        assert stored.run.state is RunState.FINISHED
        assert (await desk.record(stored)).attempts == 1

    async def test_an_element_that_kills_its_worker_is_left_out_and_the_others_are_kept(
        self, desk: Desk
    ) -> None:
        user = desk.defined("""
            import os
            def each(x):
                if x == 17: os._exit(9)
                return x
        """)

        stored = await desk.run(mapped_stage("each", user.each, map_on="xs"), xs=list(range(40)))

        assert json.loads(stored.result or b"") == [x for x in range(40) if x != 17]
        record = await desk.record(stored)
        assert (record.items_failed, record.failures[0].item) == (1, 17)
        assert record.failures[0].type == "WorkerLost"
        told = {one.item: one for one in unpacked(record.elements)}
        assert [*told] == list(range(40))
        assert (told[17].seconds, told[17].attempts) == (UNKNOWN, LOST_ATTEMPTS)

    # Results

    async def test_a_result_that_cannot_be_pickled_fails_the_stage_and_names_the_type(
        self, desk: Desk
    ) -> None:
        user = desk.defined("""
            import threading
            def lock(): return {"locks": [threading.Lock()]}
            def fine(): return 1
        """)

        stored = await desk.run(stage("a", user.lock))

        assert stored.run.failure is not None
        assert stored.run.failure.type == "ResultNotPicklable"
        said = "what stage 'a' returned cannot be pickled: _thread.lock"
        assert said in stored.run.failure.message
        assert await desk.result(stage("a", user.fine)) == 1

    async def test_an_element_whose_result_cannot_be_pickled_is_left_out(self, desk: Desk) -> None:
        user = desk.defined("""
            import threading
            def each(x): return threading.Lock() if x == 2 else x
        """)

        stored = await desk.run(
            mapped_stage("a", user.each, map_on="xs", chunk_size=4),
            stage("b", sorted, "a"),
            xs=[0, 1, 2, 3],
        )

        assert json.loads(stored.result or b"") == [0, 1, 3]

    async def test_a_class_of_the_users_comes_back_from_where_it_was_made(self, desk: Desk) -> None:
        desk.write("""
            from dataclasses import dataclass
            @dataclass
            class Point:
                x: int
            def make(): return [Point(1), Point(2)]
            def move(point): return Point(point.x + 1)
            def read(points): return [p.x for p in points]
        """)

        assert await desk.result(
            stage("a", "make"), mapped_stage("b", "move", "a"), stage("c", "read", "b")
        ) == [2, 3]
        assert "user" not in sys.modules

    async def test_what_a_stage_does_to_its_arguments_no_other_stage_sees(self, desk: Desk) -> None:
        user = desk.defined("""
            import numpy as np
            def make(): return np.zeros(300_000)
            def mark(array): array[0] = 1; return array
            def seen(first, second, untouched): return [a[0] for a in (first, second, untouched)]
        """)

        assert await desk.result(
            stage("a", user.make),
            stage("b", user.mark, "a"),
            stage("c", user.mark, "b"),
            stage("d", user.seen, "b", "c", "a"),
        ) == [1, 1, 0]

    async def test_large_elements_are_mapped_over_in_their_order(self, desk: Desk) -> None:
        user = desk.defined("""
            import numpy as np
            def make(n): return [np.full(20_000, float(i)) for i in range(n)]
            def twice(array): return 2 * array
            def add(array, offset): return array + offset[0]
            def firsts(arrays): return [a[0] for a in arrays]
        """)

        assert await desk.result(
            stage("a", user.make),
            mapped_stage("b", user.twice, "a"),
            stage("c", user.make),
            mapped_stage("d", user.add, "b", "c"),
            stage("e", user.firsts, "d"),
            n=12,
        ) == [2.0 * i for i in range(12)]

    # Resources

    async def test_elements_are_computed_on_all_processors_at_once(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        user = desk.defined("""
            import os, time
            def each(folder):
                open(f"{folder}/{os.getpid()}", "w").close()
                until = time.monotonic() + 20
                while len(os.listdir(folder)) < 2 and time.monotonic() < until: time.sleep(0.005)
                return len(os.listdir(folder))
        """)
        meeting = tmp_path / "meeting"
        meeting.mkdir()

        result = await desk.result(
            mapped_stage("a", user.each, map_on="folders"), folders=[str(meeting)] * 2
        )

        assert result == [2, 2]

    async def test_elements_of_a_stage_with_a_higher_priority_go_first(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        user = desk.defined("""
            import time
            def each(file):
                with open(file, "a") as noted: noted.write("x")
                time.sleep(0.005)
                with open(file[:-1] + "all", "a") as noted: noted.write(file[-1])
        """)
        files = [str(tmp_path / name) for name in "12"]
        each = mapped_stage("a", user.each, map_on="files", chunk_size=1)

        low = await desk.begin(each, files=files[:1] * 100)
        await until(lambda: Path(files[0]).exists())
        await desk.run(each | {"priority": 1}, files=files[1:] * 100)

        assert (await desk.ended(low)).run.failure is None
        order = (tmp_path / "all").read_text()
        between = order[order.index("2") : order.rindex("2")]
        assert between.count("1") < 25  # in turns, about 100

    async def test_a_stage_that_wants_all_of_something_has_it_alone(self, desk: Desk) -> None:
        user = desk.defined("""
            import time
            def span(_=None):
                begun = time.time()
                time.sleep(0.05)
                return [begun, time.time()]
            def join(*spans): return sorted(spans)
        """)
        spans = await desk.result(
            *(stage(f"s{i}", user.span, resources=self.alone) for i in range(3)),
            stage("join", user.join, "s0", "s1", "s2"),
        )

        assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))

    async def test_hundreds_of_async_elements_wait_side_by_side(self, desk: Desk) -> None:
        user = desk.defined("""
            import asyncio
            async def waits(x):
                await asyncio.sleep(0.1)
                return x
        """)
        await desk.result(
            mapped_stage("a", user.waits, map_on="xs"), xs=[1, 2]
        )  # workers are there
        begun = asyncio.get_running_loop().time()

        result = await desk.result(mapped_stage("a", user.waits, map_on="xs"), xs=list(range(400)))

        assert result == list(range(400))
        assert asyncio.get_running_loop().time() - begun < 400 * 0.1 / 4

    # Output

    async def test_lines_of_elements_carry_their_index(self, desk: Desk) -> None:
        user = desk.defined("""
            async def waits(x): print("async", x)
            def counts(x): print("sync", x)
        """)

        first = await desk.run(mapped_stage("a", user.counts, map_on="xs"), xs=[5, 6])
        second = await desk.run(mapped_stage("a", user.waits, map_on="xs"), xs=[5, 6])

        assert {(x["message"], x["item"]) for x in await desk.log(first)} == {
            ("sync 5", 0),
            ("sync 6", 1),
        }
        assert {(x["message"], x["item"]) for x in await desk.log(second)} == {
            ("async 5", 0),
            ("async 6", 1),
        }

    async def test_all_that_a_stage_prints_is_in_the_log_before_its_run_ends(
        self, desk: Desk
    ) -> None:
        user = desk.defined("""
            def chatters():
                for i in range(20_000): print("line", i)
                return "done"
        """)

        stored = await desk.run(stage("a", user.chatters))

        lines = [line["message"] for line in await desk.log(stored)]
        assert lines == [f"line {i}" for i in range(20_000)]

    async def test_what_a_long_stage_prints_is_there_while_it_goes_on(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        user = desk.defined("""
            import os, time
            def speaks(mark):
                print("begun")
                while not os.path.exists(mark): time.sleep(0.01)
        """)
        mark = tmp_path / "mark"
        run = await desk.begin(stage("a", user.speaks), mark=str(mark))

        async with asyncio.timeout(120):
            while not (blocks := await desk.engine.read_log(run.uid)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        mark.touch()

        assert b"begun" in b"".join(block.lines for block in blocks.values())
        assert (await desk.engine.wait(run.uid)).run.state is RunState.FINISHED

    @pytest.mark.parametrize("kind", ["def", "async def"])
    async def test_a_stage_that_raises_cancelled_by_itself_has_failed(
        self, desk: Desk, kind: str
    ) -> None:
        user = desk.defined(
            f"import asyncio\n{kind} f(x=0):\n    if x != 1: raise asyncio.CancelledError"
        )

        stored = await desk.run(stage("a", user.f))
        mapped = await desk.result(mapped_stage("a", user.f, map_on="xs"), xs=[0, 1, 2])

        assert stored.run.state is RunState.FAILED
        assert stored.run.failure is not None
        assert stored.run.failure.type == "CancelledError"
        assert mapped == [None]
