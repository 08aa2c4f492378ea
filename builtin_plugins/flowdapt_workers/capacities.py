"""What the nodes of a cluster have, and what of it is enough for a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flowdapt.executors import Node

MOST_SLOTS = 100_000  #: calls at once that anybody counts on
EPSILON = 1e-9  #: sums of fractions are not exact


def _usable(nodes: Sequence[Node]) -> Iterator[Node]:
    return (node for node in nodes if node.alive and not node.problem)


def problems(nodes: Sequence[Node]) -> str:
    """Return why none of the nodes computes anything; empty where one does, or there is none."""
    if any(_usable(nodes)):
        return ""
    return "; ".join(f"{node.name}: {node.problem or 'it is gone'}" for node in nodes)


def most(nodes: Sequence[Node], name: str) -> float:
    """Return the largest amount of a resource that one node has."""
    return max((node.resources.get(name, 0.0) for node in _usable(nodes)), default=0.0)


def shortage(nodes: Sequence[Node], wanted: Mapping[str, float]) -> str | None:
    """Return a resource that is why no node is enough; one node has to have all that is wanted."""
    short = None
    for node in _usable(nodes):
        lacking = [n for n, amount in wanted.items() if amount > node.resources.get(n, 0.0)]
        if not lacking:
            return None
        short = min(lacking, key=lambda n: most(nodes, n) >= wanted[n])
    return short


def fits(nodes: Sequence[Node], wanted: Mapping[str, float]) -> bool:
    """Tell whether a node has all that is wanted, be it free or not."""
    return any(_usable(nodes)) and shortage(nodes, wanted) is None


def slots(nodes: Sequence[Node], wanted: Mapping[str, float]) -> int:
    """Return how many calls that want as much can be computed at once, at least one."""
    count = 0
    for node in _usable(nodes):
        shares = [node.resources.get(n, 0.0) / amount for n, amount in wanted.items() if amount]
        count += int(min(shares, default=0.0) + EPSILON)
    return max(1, min(count, MOST_SLOTS))
