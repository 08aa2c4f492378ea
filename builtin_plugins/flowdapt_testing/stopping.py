"""What every executor does when runs are cancelled, and when code changes or shares its names."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flowdapt.executors import Executor
from flowdapt.runs import RunState
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage

SLEEPS = {
    "sync": "def f(mark):\n    open(mark, 'w').close()\n    time.sleep(60)",
    # Catches everything that Python raises, so that only killing helps.
    "stubborn": """
def f(mark):
    open(mark, 'w').close()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try: time.sleep(1)
        except BaseException: pass
""",
    "async": "async def f(mark):\n    open(mark, 'w').close()\n    await asyncio.sleep(60)",
    "async that blocks": "async def f(mark):\n    open(mark, 'w').close()\n    time.sleep(60)",
}


class StoppingSuite:
    """The part of :class:`flowdapt_testing.workers.WorkerSuite` about cancelling and code."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]
    alone: ClassVar[Mapping[str, float]] = {"cpus": 2}  #: what only one call can have at once

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The event loop that executors run in."""
        return "asyncio"

    @pytest.fixture
    async def desk(self, executor: Executor, tmp_path: Path) -> AsyncIterator[Desk]:
        """An engine over the executor."""
        desk = await Desk.over(executor, tmp_path)
        yield desk
        await desk.engine.stop()

    # Cancelling

    @pytest.mark.parametrize("source", SLEEPS.values(), ids=SLEEPS)
    async def test_a_cancelled_run_ends_at_once_and_frees_what_it_had(
        self, desk: Desk, tmp_path: Path, source: str
    ) -> None:
        user = desk.defined(
            "import asyncio, time\n" + textwrap.dedent(source) + "\ndef fine(): return 1"
        )
        mark = tmp_path / "mark"
        run = await desk.begin(stage("a", user.f, resources=self.alone), mark=str(mark))
        await until(mark.exists)

        stored = await asyncio.wait_for(desk.engine.cancel(run.uid), 5)

        assert stored.run.state is RunState.CANCELLED
        assert await desk.result(stage("a", user.fine, resources=self.alone)) == 1

    async def test_nothing_of_a_cancelled_run_starts_afterwards(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        user = desk.defined("""
            import os, time
            def each(folder):
                open(f"{folder}/{time.time_ns()}-{os.getpid()}", "w").close()
                time.sleep(0.2)
            def fine(): return 1
        """)
        marks = tmp_path / "marks"
        marks.mkdir()
        each = mapped_stage("a", user.each, map_on="folders")
        run = await desk.begin(each, folders=[str(marks)] * 200)
        await until(lambda: any(marks.iterdir()))

        await asyncio.wait_for(desk.engine.cancel(run.uid), 5)

        # Others are computed meanwhile, as many as could have been of the run.
        for _ in range(4):
            assert await desk.result(stage("a", user.fine)) == 1
        seen = len(list(marks.iterdir()))
        for _ in range(8):
            assert await desk.result(stage("a", user.fine)) == 1
        assert len(list(marks.iterdir())) == seen < 50

    # User modules

    async def test_an_edit_counts_for_the_next_run(self, desk: Desk) -> None:
        desk.write("from helper import value\ndef get(): return value")
        desk.write("value = 1", module="helper")
        first = await desk.result(stage("a", "get"))

        desk.write("value = 2", module="helper")

        assert (first, await desk.result(stage("a", "get"))) == (1, 2)

    async def test_a_run_keeps_the_code_that_it_began_with(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.write("""
            import os, time
            def waits(mark):
                while not os.path.exists(mark): time.sleep(0.005)
            def late(_):
                import helper
                return helper.value
        """)
        desk.write("value = 'old'", module="helper")
        mark = tmp_path / "mark"
        stages = stage("a", "waits"), stage("b", "late", "a")
        old = await desk.begin(*stages, mark=str(mark))

        desk.write("value = 'new'", module="helper")
        mark.touch()
        new = await desk.result(*stages, mark=str(mark))

        assert (await desk.engine.wait(old.uid)).result == b'"old"'
        assert new == "new"

    async def test_a_module_that_is_missing_is_named(self, desk: Desk) -> None:
        desk.write("import no_such_library\ndef f(): return 1")

        stored = await desk.run(stage("a", "f"))

        assert stored.run.failure is not None
        assert stored.run.failure.type == "TargetNotFound"
        assert "no_such_library" in stored.run.failure.message

    # Identity

    async def test_two_hundred_runs_at_once_with_one_name_get_each_its_own(
        self, desk: Desk
    ) -> None:
        def make(k: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
            def same(n: int) -> list[int]:
                return [n, k]

            def again(pair: list[int]) -> list[int]:
                return [*pair, k]

            return same, again

        runs = []
        for k in range(200):
            same, again = make(k)
            stages = stage("same", same), stage("again", again, "same")
            runs.append(await desk.begin(*stages, n=1000 + k))

        ended = [await asyncio.wait_for(desk.engine.wait(run.uid), 60) for run in runs]
        assert [json.loads(one.result or b"0") for one in ended] == [
            [1000 + k, k, k] for k in range(200)
        ]
