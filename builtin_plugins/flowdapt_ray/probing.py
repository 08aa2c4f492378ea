"""Whether nodes can compute for us: each is asked once for the version of flowdapt that it has.

The process that answers stays for the first calls there, which would have to wait for one else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from flowdapt_ray.tasks import version

logger = logging.getLogger(__name__)


class Probes:
    """What nodes answered.

    :param expected: the version that they must have
    """

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._function: Any = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._problems: dict[str, str] = {}

    def problem(self, node: str) -> str:
        """Return why nothing is computed on a node; empty where it is, or has not answered yet.

        :param node: its id
        """
        return self._problems.get(node, "")

    def ask(self, nodes: Iterable[str]) -> None:
        """Ask those that were not asked yet, and forget those that are gone."""
        present = set(nodes)
        for node in set(self._asking) - present:
            self._asking.pop(node).cancel()
            self._problems.pop(node, None)
        for node in present - set(self._asking):
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
            self._problems[node] = f"flowdapt cannot be imported there: {_last_line(error)}"
        except ray.exceptions.RayError as error:  # the node went, or will be seen to
            logger.debug("node %s does not answer: %r", node, error)
            self._asking.pop(node, None)  # so that it is asked once more
        else:
            if found != self._expected:
                self._problems[node] = (
                    f"it has flowdapt {found}, and the server {self._expected}: "
                    "install the same version on every node"
                )

    def stop(self) -> None:
        """Ask nobody any more."""
        for task in self._asking.values():
            task.cancel()


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
