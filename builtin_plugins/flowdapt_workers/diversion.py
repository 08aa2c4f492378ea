"""What libraries and child processes write past Python, on a way on which it can be masked."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

LONGEST = 64 * 1024  #: bytes of a line that are waited for before it goes on in parts


class Diversion:
    """Takes over the standard output and error of this process, for as long as it lives.

    Whole lines go on to where they went before. What a process leaves behind when it crashes is
    lost, so this is for workers that know secrets, and not for others.

    :param mask: returns a text without what is not to be seen; from any thread
    """

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask, self._lock, self._begun = mask, threading.RLock(), b""
        self._onward = os.dup(1)
        self._end, write = os.pipe()
        os.set_blocking(self._end, False)
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        threading.Thread(target=self._pump, daemon=True, name="diversion").start()

    def _pump(self) -> None:
        with suppress(OSError):  # the server is gone, and so will this process be
            while select.select([self._end], [], []) and self._take():
                pass

    def _take(self) -> bool:
        """Pass on what was written; tell whether anything may still come."""
        with self._lock:
            try:
                while data := os.read(self._end, LONGEST):
                    lines, newline, self._begun = (self._begun + data).rpartition(b"\n")
                    self._pass_on(lines + newline)
                    if len(self._begun) > LONGEST:
                        self._end_line()
            except BlockingIOError:
                return True
            return False

    def flush(self) -> None:
        """Pass on all that was written so far, also a line that was not ended."""
        with self._lock:
            self._take()
            self._end_line()

    def _end_line(self) -> None:
        rest, self._begun = self._begun, b""
        self._pass_on(rest)

    def _pass_on(self, data: bytes) -> None:
        masked = self._mask(data.decode(errors="surrogateescape"))
        left = memoryview(masked.encode(errors="surrogateescape"))
        while left:
            left = left[os.write(self._onward, left) :]
