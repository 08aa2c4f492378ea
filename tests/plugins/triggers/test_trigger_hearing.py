"""Which rules an event may meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flowdapt_triggers.hearing import Hearing

from flowdapt.events import Event
from flowdapt.triggers import EventRule


class Wants(EventRule):
    """A rule of which only what it can be met by matters."""

    def __init__(self, types: Collection[str] = (), workflows: Collection[str] = ()) -> None:
        self.types, self.workflows = types, workflows

    def met_by(self, event: Mapping[str, Any]) -> bool:
        raise AssertionError("nobody asks")


def test_only_rules_are_asked_that_an_event_may_meet() -> None:
    hearing = Hearing[str]()
    hearing.add("all", Wants())
    hearing.add("a", Wants(["a"]))
    hearing.add("a of farm", Wants(["a", "b"], ["farm", "barn"]))
    hearing.add("of farm", Wants(workflows=["farm"]))

    def heard(kind: str, workflow: str | None, data: Any = None) -> set[str]:
        return {*hearing.of(Event(type=kind, data=data, workflow=workflow))}

    assert heard("a", None) == {"all", "a"}
    assert heard("a", "farm") == {"all", "a", "a of farm", "of farm"}
    assert heard("b", "barn") == {"all", "a of farm"}
    assert heard("c", "shed") == {"all"}
    assert heard("a", None, {"workflow": "farm"}) == {"all", "a", "a of farm", "of farm"}
    assert heard("a", None, {"workflow": ["farm"]}) == {"all", "a"}


def test_it_is_known_what_is_wanted_as_rules_come_and_go() -> None:
    hearing = Hearing[str]()
    assert hearing.types() == frozenset()
    hearing.add("a", Wants(["a"]))
    hearing.add("ab", Wants(["a", "b"]))
    assert hearing.types() == frozenset("ab")
    hearing.add("all", Wants())
    assert hearing.types() is None

    hearing.remove("all")
    hearing.remove("ab")
    hearing.remove("ab")

    assert hearing.types() == frozenset("a")
    assert [*hearing.of(Event(type="b", data=None))] == []
