"""The rule keeps the contract of rules, and knows workdays."""

from __future__ import annotations

from datetime import UTC, datetime

from flowdapt.testing import TimeRuleSuite

from {{ cookiecutter.module }}.workdays import Workdays


class TestWorkdays(TimeRuleSuite):
    rule_type = Workdays
    said = ("06:30", {"timezone": "Europe/Berlin"})
    faulty = (
        ("half past six", {}),
        (630, {}),
        ("06:30+01:00", {}),
        ("06:30", {"timezone": "Europe/Berln"}),
    )


def test_it_is_due_on_monday_after_friday() -> None:
    friday = datetime(2031, 4, 4, 6, 30, tzinfo=UTC)

    assert Workdays("06:30", {}).due(friday) == datetime(2031, 4, 7, 6, 30, tzinfo=UTC)
