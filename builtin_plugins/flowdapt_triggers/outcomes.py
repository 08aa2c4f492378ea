"""What came of an occasion, for whoever asked that a trigger fires."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowdapt.errors import Draining, FlowdaptError

if TYPE_CHECKING:
    from flowdapt.runs import Run


class NotFired(Draining):
    """What was asked for is not done, and can be asked for again."""

    def __init__(self, fact: str) -> None:
        FlowdaptError.__init__(self, fact)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done.

    :ivar run: that began, just now or when the same was asked for before
    :ivar why: nothing was done, if so; or it was not done to its end
    :ivar failed: whether that is because something went wrong
    """

    run: Run | None = None
    why: str = ""
    failed: bool = False


Answer = asyncio.Future[Outcome]


def end(answer: Answer | None, error: Exception) -> None:
    """Tell whoever waits, if anybody does, why it was not done."""
    if answer is not None and not answer.done():
        answer.set_exception(error)
        answer.exception()  # nobody may wait for it any more
