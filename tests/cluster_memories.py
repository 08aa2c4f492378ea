"""What holds of objects that are kept on a cluster, whichever it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flowdapt_testing.desks import Desk, mapped_stage
from flowdapt_testing.desks import user_stage as stage
from flowdapt_workers.sockets import SocketMemory

from flowdapt import objects
from flowdapt.context import Places
from flowdapt.executors import Host
from flowdapt.runs import RunState
from flowdapt.testing import MemorySuite
from tests.staying import Staying

# Functions go by value here: a process of a cluster cannot import this module.


class ClusterMemorySuite(MemorySuite):
    """To be derived from, with a fixture ``made``: an executor over two nodes.

    :cvar served: the server's view of the memory, as its provider makes it
    :cvar there: the resources of stages on one of the two nodes
    :cvar here: and on the other one
    :cvar inside: the class of what stages have
    """

    served: ClassVar[Callable[..., SocketMemory]]
    there: ClassVar[dict[str, float]]
    here: ClassVar[dict[str, float]]
    inside: ClassVar[str] = "WorkerMemory"

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture(scope="class")
    @classmethod
    def places(cls, tmp_path_factory: pytest.TempPathFactory) -> Places:
        """Where the objects of a server are that keeps them on the cluster."""
        memory = cls.served(app_dir=tmp_path_factory.mktemp("server"))
        return Places(memory.address, None, "cluster_memory")

    @pytest.fixture(scope="class")
    @classmethod
    async def kept(
        cls,
        anyio_backend: str,
        made: Staying,
        places: Places,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> AsyncIterator[Staying]:
        """The executor, connected, for all tests of the class."""
        await made.start(Host(app_dir=tmp_path_factory.mktemp("app"), places=places))
        yield made
        await made.end()

    @pytest.fixture
    async def desk(self, kept: Staying, places: Places, tmp_path: Path) -> AsyncIterator[Desk]:
        """An engine over the cluster."""
        desk = await Desk.over(kept, tmp_path, places=places)
        yield desk
        await desk.engine.stop()

    @pytest.fixture
    def memory(self, kept: Staying, places: Places) -> Iterator[SocketMemory]:
        """What processes have that are no part of the cluster."""
        del kept  # whose gateway it is
        assert places.memory is not None
        memory: SocketMemory = objects.attached(places.memory)
        yield memory
        for namespace in {*(entry.namespace for entry in memory.list()), ".run", ".hidden", "."}:
            memory.clear(namespace)

    async def test_what_a_stage_puts_is_there_for_others_on_any_node_and_outside(
        self, desk: Desk, memory: SocketMemory
    ) -> None:
        def put(namespace: str) -> str:
            import numpy as np

            objects.put("large", np.arange(500_000.0), namespace=namespace)
            objects.put("small", {"a": 1}, namespace=namespace, ttl=60)
            return type(objects.attached(get_places().memory)).__name__

        def get(_: Any) -> list[Any]:
            array = objects.get("large", namespace="farm")
            return [array.sum(), array.flags.writeable, objects.get("small", namespace="farm")]

        def get_places() -> Any:
            from flowdapt import get_run_context

            return get_run_context().objects

        kind = await desk.result(stage("put", put, resources=self.there), namespace="farm")
        seen = await desk.result(
            stage("there", get, "x", resources=self.there),
            stage("here", get, "x", resources=self.here),
            stage("x", lambda: 1),
            stage("both", lambda there, here: [there, here], "there", "here"),
        )

        assert kind == self.inside
        assert seen == [[sum(range(500_000)), False, {"a": 1}]] * 2
        assert {entry.key: entry.type for entry in memory.list("farm")} == {
            "large": "numpy.ndarray",
            "small": "dict",
        }
        assert len(memory.get("farm", "large")) > 4_000_000

    async def test_what_a_killed_stage_had_put_is_still_there(
        self, desk: Desk, memory: SocketMemory
    ) -> None:
        def puts_and_dies(mark: str) -> None:
            if not os.path.exists(mark):
                open(mark, "w").close()
                objects.put("large", bytes(2_000_000), namespace="farm")
                objects.put("small", b"small", namespace="farm")
                os._exit(1)

        mark = str(desk.folder / "mark")
        stored = await desk.run(stage("dies", puts_and_dies, resources=self.there), mark=mark)
        found = await desk.result(
            stage("a", lambda: len(objects.get("large", namespace="farm")), resources=self.here)
        )

        assert (stored.run.state, (await desk.record(stored)).attempts) == (RunState.FINISHED, 2)
        assert found == 2_000_000
        assert len(memory.get("farm", "small")) > 5

    async def test_stages_replace_remove_and_write_to_copies_of_their_own(self, desk: Desk) -> None:
        def use() -> list[Any]:
            import numpy as np
            from flowdapt_workers import payloads

            from flowdapt import get_run_context

            places = get_run_context().objects
            assert places is not None
            memory = objects.attached(places.memory)
            for size in (10, 3_000_000):
                objects.put("x", np.full(size, 5.0), namespace="farm")
                replaced = objects.get("x", namespace="farm")
                for seed in range(3):
                    objects.put("x", np.full(size, float(seed)), namespace="farm")
                assert replaced.min() == replaced.max() == 5
                own = payloads.load(memory.get("farm", "x", writable=True))
                own[:] = 7
                assert objects.get("x", namespace="farm").max() == 2
            assert objects.exists("x", namespace="farm")
            objects.delete("x", namespace="farm")
            memory.put("farm", "y", [b"y"], size=1, ttl=-1)
            memory.put("zoo", "z", [b"z"], size=1)
            memory.clear("zoo")
            with_size = memory.stats()["capacity"] > 0
            return [objects.exists("x", namespace="farm"), list(memory.list("farm")), with_size]

        assert await desk.result(stage("a", use)) == [False, [], True]

    async def test_children_of_stages_reach_the_same_objects(self, desk: Desk) -> None:
        code = "from flowdapt import objects; objects.put('x', b'child', namespace='farm')"

        def starts(code: str, python: str) -> list[Any]:
            subprocess.run([python, "-c", code], check=True)
            started = objects.get("x", namespace="farm")
            if (pid := os.fork()) == 0:
                objects.put("x", b"forked", namespace="farm")
                os._exit(0)
            os.waitpid(pid, 0)
            return [started.decode(), objects.get("x", namespace="farm").decode()]

        result = await desk.result(stage("a", starts), code=code, python=sys.executable)

        assert result == ["child", "forked"]

    async def test_many_put_at_once(self, desk: Desk, memory: SocketMemory) -> None:
        def put(x: int) -> int:
            objects.put(f"x{x}", bytes([x]) * 100_000, namespace="farm")
            return int(objects.get(f"x{x}", namespace="farm")[0])

        result = await desk.result(mapped_stage("a", put, map_on="xs"), xs=list(range(50)))

        assert result == list(range(50))
        assert memory.stats()["used"] > 50 * 100_000
