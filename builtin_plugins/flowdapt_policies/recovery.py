"""What becomes of runs that a server leaves unfinished."""

from __future__ import annotations

from typing import Any

from flowdapt.recovery import RECOVERIES
from flowdapt.resources import Stage
from flowdapt_policies.options import OptionPolicy, one_of


class Recovery(OptionPolicy):
    """Checks the option; the engine follows it."""

    workflow_options = ("recovery",)

    def read(self, key: str, value: Any, stage: Stage | None) -> str:
        """Return the word."""
        del stage
        return one_of(key, value, RECOVERIES)
