"""What is kept of each element of a list, and in how few bytes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from flowdapt_workers.tallies import UNKNOWN, Tally, picked, unpacked

COUNT = 100_000


def seconds(*took: float) -> bytes:
    return array("f", took).tobytes()


def test_elements_come_back_in_their_order_whatever_they_came_in() -> None:
    tally = Tally()
    tally.note(range(4, 6), seconds(0.5, 0.25))
    tally.note((0, 2), seconds(2.0, 4.0), attempts=3)
    tally.note([9], attempts=2)

    told = [tuple(one) for one in unpacked(tally.pack())]

    assert told == [(0, 2.0, 3), (2, 4.0, 3), (4, 0.5, 1), (5, 0.25, 1), (9, UNKNOWN, 2)]
    assert sorted(unpacked(tally.pack()).known_seconds) == [0.25, 0.5, 2.0, 4.0]


def test_what_is_noted_again_takes_the_place_of_what_was() -> None:
    tally = Tally()
    tally.note(range(3), seconds(1.0, 2.0, 3.0))

    tally.note([1], seconds(8.0), attempts=2)

    assert [tuple(one) for one in tally] == [(0, 1.0, 1), (1, 8.0, 2), (2, 3.0, 1)]


def test_nothing_stands_for_no_elements() -> None:
    tally = Tally()
    tally.note([])

    assert tally.pack() is None
    assert [*unpacked(None)] == []


@pytest.mark.parametrize(
    ("indexes", "attempts"),
    [
        (range(COUNT), 1),
        (range(COUNT), 2),
        (range(0, COUNT, 2), 1),
        ([*range(1000), COUNT], 1),
        ([COUNT], 40),
    ],
    ids=["all", "all again", "every other", "few and one far away", "one"],
)
def test_an_element_takes_about_four_bytes(indexes: Sequence[int], attempts: int) -> None:
    tally = Tally()
    took = [0.01 + 0.001 * (index % 997) for index in indexes]
    tally.note(indexes, seconds(*took), attempts=attempts)

    block = tally.pack()

    assert [one.item for one in unpacked(block)] == [*indexes]
    assert {one.attempts for one in unpacked(block)} == {attempts}
    assert len(block or b"") < 5 * len(indexes) + 5000


def test_seconds_of_some_are_picked() -> None:
    assert picked(range(3, 7), seconds(1, 2, 3, 4), [3, 6]) == seconds(1, 4)
    assert picked((2, 5), seconds(1, 2), [5]) == seconds(2)
    assert picked((2, 5), b"", [5]) == seconds(UNKNOWN)
