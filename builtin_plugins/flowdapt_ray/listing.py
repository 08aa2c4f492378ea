"""The nodes of a cluster: what they are called, what they have, and what of it is free."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from flowdapt.executors import Node
from flowdapt_ray import labels
from flowdapt_ray.attendants import Attendant
from flowdapt_ray.probing import Probes

OTHER_LABELS = "its labels are not those that label_selector asks for"
ANSWER_SECONDS = 10.0  #: how long Ray may take to say which nodes there are

_NAMES = {"CPU": "cpus", "GPU": "gpus"}
_OWN = ("node:", "object_store_memory")  #: what Ray counts beside what calls ask for

Place = tuple[str, int]  #: host and port


class Listing:
    """Asks Ray for its nodes.

    :param attendant: what calls Ray
    :param probes: what nodes say of themselves
    :param selector: which nodes may compute
    """

    def __init__(
        self,
        attendant: Attendant,
        probes: Probes,
        selector: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._attendant, self._probes, self._selector = attendant, probes, selector
        self._names: dict[str, str] = {}
        self._unusable: set[str] = set()

    async def begin(self, here: str) -> dict[str, Place]:
        """Return where what the gateway cannot do without listens, by what it is.

        :param here: the id of the node of this machine
        """
        for node in (await self._asked())[0]:
            if node["NodeID"] == here:
                return {"this node": (node["NodeManagerAddress"], int(node["NodeManagerPort"]))}
        return {}

    async def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        found, free = await self._asked()
        self._probes.ask(node["NodeID"] for node in found)
        nodes = {one["NodeID"]: self._node(one, one["Resources"], free) for one in found}
        self._unusable = {key for key, node in nodes.items() if node.problem}
        return [*nodes.values()]

    def _node(
        self, told: Mapping[str, Any], has: Mapping[str, float], free: Mapping[str, Any]
    ) -> Node:
        key = told["NodeID"]
        left = free.get(key, {})
        problem = self._probes.problem(key)
        if not labels.selected(told["Labels"], self._selector):
            problem = OTHER_LABELS
        return Node(
            name=self._names[key],
            alive=True,
            resources=_amounts(has),
            free=_amounts(left),
            workers=math.ceil(has.get("CPU", 0) - left.get("CPU", 0)),  # Ray does not say it
            problem=problem,
        )

    async def _asked(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with asyncio.timeout(ANSWER_SECONDS):
            told, free = await self._attendant.call(_told)
        found = sorted((node for node in told if node["Alive"]), key=lambda node: node["NodeID"])
        self._names = _named(found)
        return found, free

    @property
    def usable(self) -> dict[str, str]:
        """The names of nodes on which orders can be computed, by their ids, as found last."""
        return {key: name for key, name in self._names.items() if key not in self._unusable}

    def worker_name(self, pid: int, node: str) -> str:
        """Return what to call a process of a node.

        :param node: its id
        """
        return f"process {pid} on {self.name(node)}"

    def name(self, node: str) -> str:
        """Return what a node is called; the begin of its id where it is not known."""
        return self._names.get(node, node[:8])


def _told() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from ray._private import state  # there is no public way to what is free on each node

    nodes: Any = state.nodes
    free: Any = state.available_resources_per_node
    return nodes(), free()


def _named(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """Return names by ids; several nodes of one machine are told apart by their ids."""
    plain = {node["NodeID"]: node.get("NodeName") or node["NodeManagerAddress"] for node in nodes}
    often = Counter(plain.values())
    return {key: f"{name}/{key[:8]}" if often[name] > 1 else name for key, name in plain.items()}


def _amounts(resources: Mapping[str, float]) -> dict[str, float]:
    amounts = {"cpus": 0.0, "gpus": 0.0, "memory": 0.0}
    for name, amount in resources.items():
        if not name.startswith(_OWN):
            amounts[_NAMES.get(name, name)] = float(amount)
    return amounts
