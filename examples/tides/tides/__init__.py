"""Runs workflows at high water."""

from __future__ import annotations

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_triggers() -> list[Provider]:
    return [Provider("high_water", f"{__name__}.high_water:HighWater", "When the tide is highest.")]


@hookimpl
def flowdapt_commands() -> list[Provider]:
    return [Provider("tides", f"{__name__}.commands:tides", "Say when the tide is highest.")]
