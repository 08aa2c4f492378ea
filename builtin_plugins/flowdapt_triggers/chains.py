"""What set off what: chains of triggers whose runs meet further rules, so that none has no end."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from flowdapt.catalog import identifier
from flowdapt.storage import RUN_KIND
from flowdapt_triggers import history

if TYPE_CHECKING:
    from flowdapt.triggers import Occasion
    from flowdapt_triggers.clock import Clock
    from flowdapt_triggers.resource import TriggerRule

RUNS_KNOWN = 100_000  #: of which it is known what set them off, the last ones


class Chains:
    """Knows which triggers led to a run, the first one first.

    :param longest: how many firings may follow from one another
    """

    def __init__(self, clock: Clock, longest: int) -> None:
        self.clock, self._longest = clock, longest
        self._of_run: OrderedDict[UUID, Sequence[str]] = OrderedDict()

    def begun(self, run: UUID, chain: Sequence[str]) -> None:
        """Note the triggers that led to a run."""
        self._of_run[run] = chain
        if len(self._of_run) > RUNS_KNOWN:
            self._of_run.popitem(last=False)

    def behind(self, occasion: Occasion) -> Sequence[str]:
        """Return the triggers that led to an occasion: to the run or the firing it is about."""
        event = occasion.event
        if _of_trigger(occasion):
            return history.behind(event.get("data"))
        kind, _, uid = str(event.get("subject", "")).partition("/")
        run = identifier(uid) if kind == RUN_KIND else None
        return self._of_run.get(run, ()) if isinstance(run, UUID) else ()

    def over(self, chain: Sequence[str]) -> bool:
        """Tell whether a chain was stopped before: that is on record, and needs no other one."""
        return len(chain) > self._longest + 1

    def stopped(self, chain: Sequence[str], trigger: TriggerRule, occasion: Occasion) -> str | None:
        """Return why a trigger must not fire in a chain, if it must not.

        Who hears that one was stopped may still say so.
        """
        if len(chain) < self._longest + 2 * _of_trigger(occasion):
            return None
        shown = " -> ".join([*chain[-3:], trigger.name])
        return (
            f"{len(chain)} firings follow from one another ({'... -> ' * (len(chain) > 3)}{shown}),"  # noqa: PLR2004
            " which is no end that was meant; services.triggers.longest_chain allows more"
        )


def _of_trigger(occasion: Occasion) -> bool:
    """Tell whether an occasion is on record of a trigger."""
    return occasion.event.get("channel") == history.CHANNEL and bool(occasion.event.get("subject"))
