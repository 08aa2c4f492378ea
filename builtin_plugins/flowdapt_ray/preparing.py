"""Plugin sets on the nodes of a cluster: each is asked by a task that can run nowhere else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.paths import wheel_file
from flowdapt_sets.sets import PluginSet

from flowdapt_ray.attendants import Attendant
from flowdapt_ray.blocks import Block
from flowdapt_ray.listing import Listing
from flowdapt_ray.tasks import prepare

NODE_SECONDS = 90.0  #: how long a node may take


class Preparing:
    """Has nodes prepare plugin sets.

    :param attendant: what calls Ray
    :param listing: which nodes there are
    """

    def __init__(self, attendant: Attendant, listing: Listing) -> None:
        self._attendant, self._listing = attendant, listing
        self._function: Any = None
        self._put: dict[str, Any] = {}  # the wheels of the set that is prepared

    async def everywhere(self, plugins: str, wheels: Path, *, look: bool) -> dict[str, str]:
        """Have a set on all nodes that compute; return what is wrong, by their names."""
        await self._listing.nodes()
        nodes = self._listing.usable
        self._put.clear()
        try:
            said = await asyncio.gather(
                *(self._one(node, plugins, wheels, look=look) for node in nodes)
            )
        finally:
            self._put.clear()
        return dict(zip(nodes.values(), said, strict=True))

    async def _one(self, node: str, plugins: str, wheels: Path, *, look: bool) -> str:
        try:
            async with asyncio.timeout(NODE_SECONDS):
                said = await self._ask(node, plugins, None, look=look)
                if said is None:
                    put = await self._wheels(plugins, wheels)
                    said = await self._ask(node, plugins, put, look=look)
        except TimeoutError:
            return f"it did not answer within {NODE_SECONDS:g} s"
        except SetUnusable as error:
            return str(error)
        except Exception as error:  # such as that the node is gone
            return f"{type(error).__name__}: {str(error).strip().rpartition(chr(10))[2]}"
        return said or ""

    async def _ask(self, node: str, plugins: str, wheels: Any, *, look: bool) -> str | None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._function is None:
            self._function = ray.remote(num_cpus=0, max_retries=0)(prepare)
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        asked = self._function.options(scheduling_strategy=there).remote(plugins, wheels, look)
        said: str | None = await asyncio.wrap_future(asked.future())
        return said

    async def _wheels(self, plugins: str, folder: Path) -> Any:
        """Return a reference to the contents of the wheels, which are put once for all nodes."""
        import ray

        if plugins not in self._put:

            def put() -> Any:
                found = [wheel_file(folder, w) for w in PluginSet.from_json(plugins).wheels]
                contents = [[file.read_bytes()] for file in found]
                return ray.put(Block(contents, frozenset(range(len(contents)))))

            self._put[plugins] = asyncio.ensure_future(self._attendant.call(put))
        return await asyncio.shield(self._put[plugins])
