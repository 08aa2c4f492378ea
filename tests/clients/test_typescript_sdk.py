"""Every verb of the published TypeScript SDK, where there is Node.js to run it."""

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
        "failing_runs",
        "configs",
        "triggers",
        "plugins",
        "metrics",
        "errors",
    ],
)
def test_the_typescript_sdk_works_unmodified(typescript: Callable[..., str], verbs: str) -> None:
    typescript(verbs)
