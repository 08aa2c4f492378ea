"""What the code of an order asked, and whether it does nothing but wait."""

from __future__ import annotations

from collections.abc import Callable

from flowdapt_workers.asking import Asked

from flowdapt_dask.children import Work


class Asking:
    """Open questions of one order.

    :param work: what computes it
    :param waits: is told when it begins or ends to wait for what others compute
    """

    def __init__(self, work: Work, waits: Callable[[bool], None]) -> None:
        self.work, self._waits = work, waits
        self._open: set[int] = set()

    def note(self, question: int, asked: Asked | None) -> None:
        """Note that something is asked, or is not any more."""
        before = bool(self._open)
        if asked is None:
            self._open.discard(question)
        elif asked.idle and not self.work.deferred:  # else it has no processor as it is
            self._open.add(question)
        if before != bool(self._open):
            self._waits(not before)

    def end(self) -> None:
        """Note that the order is not computed any more."""
        if self._open:
            self._open.clear()
            self._waits(False)
