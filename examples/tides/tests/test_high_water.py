"""The rule keeps the contract of rules, and knows the sea."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from flowdapt.testing import TimeRuleSuite

from tides.high_water import HighWater
from tides.sea import EPOCH, PLACES


class TestHighWater(TimeRuleSuite):
    rule_type = HighWater
    said = ("Heligoland", {})
    faulty = (("Helgoland", {}), (3, {}), (None, {}))


def test_there_are_about_two_tides_a_day() -> None:
    highs = list(islice(PLACES["Saint-Malo"].highs(datetime(2031, 4, 1, tzinfo=UTC)), 60))

    gaps = [later - earlier for earlier, later in pairwise(highs)]
    assert timedelta(hours=12) < min(gaps)
    assert max(gaps) < timedelta(hours=13)


def test_the_water_is_lower_a_minute_earlier_and_later() -> None:
    place = PLACES["Heligoland"]

    for high in islice(place.highs(datetime(2031, 4, 1, tzinfo=UTC)), 60):
        seconds = (high - EPOCH).total_seconds()
        assert place.height(seconds - 60) < place.height(seconds) > place.height(seconds + 60)
