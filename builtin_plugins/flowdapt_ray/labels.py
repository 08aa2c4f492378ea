"""Labels of nodes, and selectors of them, as Ray understands both.

A selector names a label and what it must be: ``value``, ``!value``, ``in(one,other)`` or
``!in(one,other)``. Ray allows spaces after the commas, and then takes them for parts of the values;
no value can have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

NODE_ID = "ray.io/node-id"  #: a label that every node has


def selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Tell whether a node with these labels is one that a selector means."""
    return all(_meets(labels.get(name), wanted) for name, wanted in selector.items())


def _meets(label: str | None, wanted: str) -> bool:
    return (label in _values(wanted)) is not wanted.startswith("!")


def _values(wanted: str) -> list[str]:
    bare = wanted.removeprefix("!")
    return bare[3:-1].split(",") if bare.startswith("in(") else [bare]


def without(nodes: Set[str], selector: Mapping[str, str]) -> dict[str, str]:
    """Return a selector that means none of some nodes.

    :param nodes: their ids
    :param selector: what it means else; where it means these alone, it stays as it is, because Ray
        knows no selector of nothing
    """
    if not nodes:
        return dict(selector)
    wanted = selector.get(NODE_ID, "!")
    named = _values(wanted)
    if wanted.startswith("!"):
        return {**selector, NODE_ID: f"!in({','.join(sorted({*nodes, *named} - {''}))})"}
    left = [node for node in named if node not in nodes]
    return {**selector, NODE_ID: f"in({','.join(left)})"} if left else dict(selector)
