"""What a worker holds of runs, so that memory is given back once nobody has it any more."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from flowdapt_workers.parts import Spooled
from flowdapt_workers.spool import Spool


class Holdings:
    """Counts blocks and orders by run. When a run has none left, all its memory is given back:
    also what was written for orders that failed.

    :param spool: where the payloads of blocks are
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._counts: Counter[str] = Counter()
        self._written: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._counts)

    @contextmanager
    def order(self, run: str) -> Iterator[None]:
        """Note that an order of a run is under way."""
        self._counts[run] += 1
        try:
            yield
        except BaseException:
            self.wrote(run)
            raise
        finally:
            self._less(run)

    def wrote(self, run: str) -> None:
        """Note that a run may have memory that belongs to no block, as an order of it failed."""
        self._written.add(run)

    def block(self, run: str) -> None:
        """Note that a block has memory; from any thread, while an order of the run is under way."""
        if threading.get_ident() == self._thread:
            self._counts[run] += 1
            self._written.add(run)
        else:
            self._loop.call_soon_threadsafe(self.block, run)

    def gone(self, run: str, parts: Sequence[Spooled]) -> None:
        """Note that a block is gone; from any thread, and wherever garbage is collected."""
        with suppress(RuntimeError):  # the loop is closed, and the memory gone with it
            self._loop.call_soon_threadsafe(self._drop, run, parts)

    def _drop(self, run: str, parts: Sequence[Spooled]) -> None:
        with suppress(OSError):  # the memory is gone
            self.spool.drop(parts)
            self._less(run)

    def _less(self, run: str) -> None:
        self._counts[run] -= 1
        if self._counts[run] <= 0:
            del self._counts[run]
            if run in self._written:
                self._written.discard(run)
                with suppress(OSError):  # the memory is gone
                    self.spool.forget(run)
