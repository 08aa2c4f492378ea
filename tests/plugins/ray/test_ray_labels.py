"""Selectors of nodes that mean what Ray takes them for."""

from __future__ import annotations

import pytest
from flowdapt_ray.labels import selected, without

NODE = "ray.io/node-id"


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, {NODE: "!in(a,b)"}),
        ({"zone": "x"}, {"zone": "x", NODE: "!in(a,b)"}),
        ({NODE: "!c"}, {NODE: "!in(a,b,c)"}),
        ({NODE: "!in(c,a)"}, {NODE: "!in(a,b,c)"}),
        ({NODE: "in(a,c,d)"}, {NODE: "in(c,d)"}),
        ({NODE: "in(a,b)"}, {NODE: "in(a,b)"}),
    ],
)
def test_nodes_are_left_out_of_what_a_selector_means(
    selector: dict[str, str], expected: dict[str, str]
) -> None:
    assert without({"b", "a"}, selector) == expected
    assert without(set(), selector) == selector


@pytest.mark.parametrize(
    ("wanted", "label", "meant"),
    [("x", "x", True), ("!x", "x", False), ("in(x,y)", "y", True), ("!in(x,y)", None, True)],
)
def test_labels_are_compared_as_ray_compares_them(
    wanted: str, label: str | None, meant: bool
) -> None:
    labels = {} if label is None else {"zone": label}

    assert selected(labels, {"zone": wanted}) is meant
