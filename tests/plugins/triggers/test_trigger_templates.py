"""Texts that name facts."""

from __future__ import annotations

from typing import Any

import pytest
from flowdapt_triggers.templates import faults, filled

FACTS = {
    "event": {"data": {"city": "Oslo", "xs": [1, {"y": 2}], "n": 0}},
    "trigger": "nightly",
    "time": "2031",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{ event.data.city }}", "Oslo"),
        ("{{event.data.xs}}", [1, {"y": 2}]),
        ("{{ event.data.xs.1.y }}", 2),
        ("{{ event.data.n }}", 0),
        ("{{ event.data.none }}", None),
        ("{{ event.data.xs.7 }}", None),
        ("{{ event.data.xs.² }}", None),
        ("{{ event.data.city.length }}", None),
        (
            "in {{ event.data.city }}, {{ trigger }}: {{ event.data.xs }}{{ event.nothing }}",
            'in Oslo, nightly: [1, {"y": 2}]',
        ),
        ({"a": ["{{ trigger }}", 3, None]}, {"a": ["nightly", 3, None]}),
        ("no braces", "no braces"),
        (7, 7),
    ],
)
def test_texts_get_what_they_name(value: Any, expected: Any) -> None:
    assert [*faults(value)] == []
    assert filled(value, FACTS) == expected


@pytest.mark.parametrize(
    ("value", "place", "fact"),
    [
        ({"a": ["{{ evnt.data }}"]}, ("a", 0), "begins with 'evnt' (did you mean 'event'?)"),
        ("{{ }}", (), "'{{ }}' is no path such as '{{ event.data.city }}'"),
        ("{{ event.data[0] }}", (), "is no path"),
        ("{{ 1 + 1 }}", (), "is no path"),
        ("{{ config.x }}", (), "it may begin with event, trigger, time, input"),
    ],
)
def test_what_names_nothing_is_found_with_its_place(
    value: Any, place: tuple[str | int, ...], fact: str
) -> None:
    ((found, said),) = faults(value)

    assert found == place
    assert fact in said
