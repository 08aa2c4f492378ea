"""Every time is fired for once or accounted for, whenever the server is killed."""

from __future__ import annotations

from pathlib import Path

from .chaos import campaign


def test_no_time_is_fired_for_twice_and_none_is_unaccounted_for(tmp_path: Path) -> None:
    counts = campaign(tmp_path, kills=3, triggers=30, seed=1)

    assert counts.fired > 0
    assert counts.fired + counts.missed == counts.times
    assert counts.fired_twice == counts.fired_and_missed == counts.unaccounted == 0
    assert counts.runs_without_firing == counts.firings_without_run == 0
