"""Every verb of the published Python SDK, against a server as users start it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "verbs",
    [
        "ping",
        "status",
        "workflows",
        "runs",
        "runs_without_waiting",
        "failing_runs",
        "configs",
        "triggers",
        "plugins",
        "metrics",
        "errors",
        "draining",
    ],
)
def test_the_python_sdk_works_unmodified(sdk: Callable[..., str], verbs: str) -> None:
    sdk(verbs)
