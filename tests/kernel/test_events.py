"""Facts about what happened, and who is told."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import ExitStack

import pytest

from flowdapt.events import Event, Events


def an_event(type_: str = "a.b") -> Event:
    """Return an event without facts."""
    return Event(type=type_, data={})


def test_listeners_are_told_in_order() -> None:
    events, heard = Events(), list[tuple[str, str]]()

    with (
        events.listening(lambda event: heard.append(("first", event.type))),
        events.listening(lambda event: heard.append(("second", event.type))),
    ):
        events.publish(an_event("one"))
        events.publish(an_event("two"))

    assert heard == [("first", "one"), ("second", "one"), ("first", "two"), ("second", "two")]


def test_a_listener_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    events, heard = Events(), list[Event]()

    def broken(_: Event) -> None:
        raise LookupError("of the listener")

    with events.listening(broken), events.listening(heard.append):
        events.publish(an_event("com.event"))

    assert [event.type for event in heard] == ["com.event"]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        "a listener failed on event com.event",
    )
    assert "LookupError: of the listener" in caplog.text


def test_nobody_is_told_after_the_end_of_listening() -> None:
    events, heard = Events(), list[Event]()

    with events.listening(heard.append):
        assert events.heard("a.b")
    events.publish(an_event())

    assert not events.heard("a.b")
    assert heard == []


def test_a_listener_is_told_of_the_types_that_it_wants_and_no_others_are_heard() -> None:
    events, heard = Events(), list[str]()

    with events.listening(lambda event: heard.append(event.type), "one", "two"):
        for type_ in ("one", "other", "two"):
            events.publish(an_event(type_))

        assert heard == ["one", "two"]
        assert events.heard("two")
        assert not events.heard("other")


def test_a_listener_may_leave_while_it_is_told() -> None:
    events, heard = Events(), list[Event]()

    leaving = ExitStack()
    leaving.enter_context(events.listening(lambda _: leaving.close()))
    with events.listening(heard.append):
        events.publish(an_event())

    assert len(heard) == 1
    assert not events.heard("a.b")


def test_an_event_cannot_be_changed() -> None:
    event = an_event()

    with pytest.raises(dataclasses.FrozenInstanceError):
        event.type = "other"  # type: ignore[misc]  # which is what is tested


def test_every_event_has_an_identity_and_an_aware_time() -> None:
    one, other = an_event(), an_event()

    assert one.id != other.id
    assert one.time.utcoffset() is not None
