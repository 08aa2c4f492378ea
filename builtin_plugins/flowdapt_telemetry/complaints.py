"""What goes wrong with exporting: many lines of the libraries become a warning now and then."""

from __future__ import annotations

import logging
from time import monotonic

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 60.0  #: between two warnings
LIBRARY = "opentelemetry"  #: the logger of all that exports
_MOST_TEXT = 300  #: characters of one reason


class Complaints(logging.Handler):
    """Hears what the libraries log, in place of the log of this process.

    They log every attempt, so a collector that is away for a night would fill a disk.

    :param endpoint: of the collector, for people
    """

    def __init__(self, endpoint: str) -> None:
        super().__init__(logging.WARNING)
        self.endpoint = endpoint
        self.failing: set[str] = set()  #: what was not taken at the latest attempt
        self._reasons: list[str] = []
        self._lost, self._told, self._next = 0, False, 0.0

    def begin(self) -> None:
        """Begin to hear, in place of those that did before."""
        library = logging.getLogger(LIBRARY)
        for handler in [handler for handler in library.handlers if isinstance(handler, Complaints)]:
            library.removeHandler(handler)
        library.addHandler(self)
        library.propagate = False

    def end(self) -> None:
        """Leave the log as it was, unless threads that were given up still write to it."""
        if not self.failing:
            library = logging.getLogger(LIBRARY)
            library.removeHandler(self)
            library.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """Remember what was said last, as the reason of a failure."""
        self._reasons = [*self._reasons[-1:], record.getMessage()[:_MOST_TEXT]]

    def succeeded(self, what: str) -> None:
        """Note that the collector took something.

        :param what: traces or metrics
        """
        self.failing.discard(what)
        if not self.failing:
            self._reasons = []
            if self._told:
                self._told = False
                logger.info("the collector at %s takes telemetry again", self.endpoint)

    def failed(self, what: str, *, lost: int = 0) -> None:
        """Note that it did not.

        :param lost: how many spans are lost by that
        """
        self.failing.add(what)
        reason = "; ".join(self._reasons) or "no reason is known"
        self._warn(lost, f"the collector at {self.endpoint} takes no {what}: {reason}")

    def overflowed(self) -> None:
        """Note that a run has no trace, because too many runs wait for theirs."""
        self._warn(1, f"runs end faster than the collector at {self.endpoint} takes their traces")

    def _warn(self, lost: int, text: str) -> None:
        self._lost += lost
        if monotonic() >= self._next:
            self._told, self._next = True, monotonic() + PAUSE_SECONDS
            logger.warning("%s (spans lost so far: %d)", text, self._lost)
