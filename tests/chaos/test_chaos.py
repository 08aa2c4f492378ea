"""A few kills in each run of the tests; hundreds are for ``python -m tests.chaos.campaign``."""

from __future__ import annotations

from pathlib import Path

import pytest

from .campaign import campaign

pytestmark = pytest.mark.anyio


async def test_runs_survive_the_death_of_servers_and_workers(tmp_path: Path) -> None:
    counts = await campaign(tmp_path, kills=12, seed=1)

    assert not counts.faults, counts
    assert counts.kills_of_servers
    assert counts.resumed
