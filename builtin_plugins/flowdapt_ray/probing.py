"""Whether nodes can compute for us: each is asked for the version of flowdapt that it has.

The process that answers stays for the first calls there, which would have to wait for one else.
Those that cannot are asked again after a while, because somebody may have mended them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable
from typing import Any

from flowdapt_ray.tasks import version

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0  #: until a node that cannot compute is asked once more
ANSWER_SECONDS = 10.0  #: how long a node may take that has to start a process for it


class Probes:
    """What nodes answered.

    :param expected: the version that they must have
    """

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._function: Any = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._again_at: dict[str, float] = {}
        self._problems: dict[str, str] = {}
        self.unfit: frozenset[str] = frozenset()  #: ids of nodes that cannot compute for us

    def problem(self, node: str) -> str:
        """Return why nothing is computed on a node; empty where it is, or has not answered yet.

        :param node: its id
        """
        return self._problems.get(node, "")

    def ask(self, nodes: Iterable[str]) -> None:
        """Ask those that are new or could not compute, and forget those that are gone."""
        present = set(nodes)
        for node in set(self._asking) - present:
            self._asking.pop(node).cancel()
            self._found(node, "")
        now = asyncio.get_running_loop().time()
        for node in present:
            if node not in self._asking or self._again_at.get(node, math.inf) <= now:
                self._again_at.pop(node, None)
                self._asking[node] = asyncio.create_task(self._ask(node))

    async def _ask(self, node: str) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        if self._function is None:
            self._function = ray.remote(num_cpus=0, max_retries=0)(version)
        try:
            asked = self._function.options(scheduling_strategy=there).remote()
            found = await asyncio.wrap_future(asked.future())
        except ray.exceptions.RayTaskError as error:  # it cannot even import the function
            self._found(node, f"flowdapt cannot be imported there: {_last_line(error)}")
        except ray.exceptions.RayError as error:  # the node went, or will be seen to
            logger.debug("node %s does not answer: %r", node, error)
            self._asking.pop(node, None)  # so that it is asked once more
        else:
            said = f"it has flowdapt {found}, and the server {self._expected}: "
            said += "install the same version on every node"
            self._found(node, "" if found == self._expected else said)

    def _found(self, node: str, problem: str) -> None:
        self._problems.pop(node, None)
        self._again_at.pop(node, None)
        if problem:
            self._problems[node] = problem
            self._again_at[node] = asyncio.get_running_loop().time() + AGAIN_SECONDS
        if (node in self.unfit) is not bool(problem):
            self.unfit ^= {node}

    async def answers(self) -> None:
        """Wait until all have answered that were asked, or for as long as that may take."""
        if self._asking:
            await asyncio.wait(self._asking.values(), timeout=ANSWER_SECONDS)

    def stop(self) -> None:
        """Ask nobody any more."""
        for task in self._asking.values():
            task.cancel()


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
