"""Puts one value into a text of YAML or JSON, so that all else stays as somebody wrote it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node

if TYPE_CHECKING:
    from collections.abc import Sequence


def put(text: str, node: Node, keys: Sequence[str], value: Any, *, as_json: bool) -> str:
    """Return the text with a value exchanged or added.

    Whoever calls reads the result and compares: with anchors, or texts of several lines, it may
    say something else.

    :param node: what YAML made of the text; its root
    :param keys: lead from there to the value; those at the end may be new
    """
    rest = [*keys]
    while rest and (inner := _under(node, rest[0])):
        node, rest = inner, rest[1:]
    if not rest and not isinstance(node, MappingNode):
        return _exchanged(text, node, _written(node, value, as_json=as_json))
    if not rest or not isinstance(node, MappingNode) or as_json:  # JSON has no comments to keep
        return text
    if node.flow_style:
        for key in reversed(rest):
            value = {key: value}
        added = _flow(value, as_json=False)[1:-1]
        at = node.start_mark.index + 1
        return f"{text[:at]}{added}{', ' if node.value else ''}{text[at:]}"
    return _appended(text, node, rest, _flow(value, as_json=False)) if node.value else text


def _exchanged(text: str, node: Node, written: str) -> str:
    before, after = text[: node.start_mark.index], text[_end(node) :]
    return f"{before}{' ' if before.endswith(':') else ''}{written}{after}"


def _appended(text: str, node: MappingNode, keys: Sequence[str], written: str) -> str:
    """Add a key below the last line of a mapping."""
    key, _ = node.value[0]
    margin = " " * key.start_mark.column
    lines = [f"{margin}{'  ' * depth}{key}:" for depth, key in enumerate(keys)]
    end = text.find("\n", _end(node))
    before, after = (text[:end], text[end:]) if end >= 0 else (text.rstrip("\n"), "\n")
    return "\n".join([before, *lines]) + f" {written}{after}"


def _end(node: Node) -> int:
    """Return where the last value ends: a block's own end is where the next key begins."""
    while isinstance(node, CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _under(node: Node, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    # Backwards, because PyYAML puts what a merge brings before what the mapping itself says.
    return next((value for k, value in reversed(node.value) if k.value == key), None)


def _written(node: Node, value: Any, *, as_json: bool) -> str:
    if not isinstance(node, CollectionNode) or node.flow_style or not isinstance(value, list):
        return _flow(value, as_json=as_json)
    margin = " " * node.start_mark.column
    items = [f"- {_flow(item, as_json=False)}" for item in value]
    return f"\n{margin}".join(items) or "  []"  # further in than the key, which may stand as far


def _flow(value: Any, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(value)
    return str(yaml.safe_dump([value], default_flow_style=True, width=sys.maxsize))[1:-2]
