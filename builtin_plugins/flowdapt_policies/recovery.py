"""What becomes of runs that a server leaves unfinished, and of those that have ended."""

from __future__ import annotations

from typing import Any

from flowdapt.recovery import RECOVERIES
from flowdapt.resources import Stage
from flowdapt_policies.options import OptionPolicy, one_of, seconds


class Recovery(OptionPolicy):
    """Checks the option; the engine follows it."""

    workflow_options = ("recovery",)

    def read(self, key: str, value: Any, stage: Stage | None) -> str:
        """Return the word."""
        del stage
        return one_of(key, value, RECOVERIES)


class Retention(OptionPolicy):
    """Checks the option; the service ``retention`` follows it."""

    workflow_options = ("retention",)

    def read(self, key: str, value: Any, stage: Stage | None) -> float:
        """Return seconds."""
        del stage
        return seconds(key, value)
