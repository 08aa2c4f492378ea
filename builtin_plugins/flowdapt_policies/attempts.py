"""The options of stages that executors follow themselves: attempts, time limits, groups."""

from __future__ import annotations

from typing import Any

from flowdapt_workers.attempts import Attempts
from flowdapt_workers.gates import Limits

from flowdapt.resources import Stage
from flowdapt_policies.options import OptionPolicy


class Executors(OptionPolicy):
    """Checks the options."""

    stage_options = ("retries", "backoff", "retry_on", "timeout", "concurrency", "rate")

    def read(self, key: str, value: Any, stage: Stage | None) -> Attempts | Limits:
        """Return what an option means."""
        del stage
        read = Limits if key in ("concurrency", "rate") else Attempts
        return read.of({key: value})
