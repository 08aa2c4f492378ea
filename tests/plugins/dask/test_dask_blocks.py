"""Results on their way between Dask's processes."""

from __future__ import annotations

from typing import Any

import distributed.protocol
import pytest
from flowdapt_dask.blocks import Block

protocol: Any = distributed.protocol  # it has types only here and there
CONTENT = b"0123456789" * 10_000

#: what others have agreed on: the scheduler takes pickles of this protocol, and no later one
SCHEDULER = {"pickle-protocol": 4}


@pytest.mark.parametrize("context", [None, SCHEDULER], ids=["direct", "scheduler"])
def test_results_arrive_on_every_way(context: Any) -> None:
    sent = protocol.serialize(Block([CONTENT, b"small"]), context=context)

    arrived = protocol.deserialize(*sent)

    assert [bytes(arrived.content(place)) for place in (0, 1)] == [CONTENT, b"small"]
