"""Notices at once that something changes in a folder of this machine."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress

from watchfiles import Change, watch

STEP_MS = 50  #: within which changes are one
DEBOUNCE_MS = 200  #: the same, where they do not end
QUIET_MS = 500  #: after which it is known that the folder is watched


class Changes:
    """Sets an event when a folder changes; it may come later, go, and be made anew.

    It has a thread of its own: the library's async form waits in one of the 40 that the server has
    for everything.

    :ivar happened: set for each change, and once when the folder begins to be watched
    :ivar trouble: why it is not watched; such as that the system's limit is reached
    """

    def __init__(self, folder: str, *, recursive: bool) -> None:
        self.happened = asyncio.Event()
        self.trouble: Exception | None = None
        self._folder, self._recursive = folder, recursive
        self._loop = asyncio.get_running_loop()
        self._lock, self._over = threading.Lock(), False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._number: tuple[int, int] | None = None

    def follow(self) -> None:
        """Watch the folder that is there now, if any; called in any thread, now and then."""
        number = _number(self._folder)
        with self._lock:
            thread, stop = self._thread, self._stop
            alive = thread is not None and thread.is_alive() and not stop.is_set()
            if self._over or (alive and number == self._number):
                return
            self._stop.set()
            self._number, self._thread = number, None
            if number is not None:
                self._stop = threading.Event()
                thread = threading.Thread(target=self._watch, args=(self._stop,), daemon=True)
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Watch no longer."""
        with self._lock:
            self._over = True
            self._stop.set()

    def _watch(self, stop: threading.Event) -> None:
        places = (self._folder, os.path.realpath(self._folder))
        begun = False
        try:
            for changes in watch(
                self._folder,
                watch_filter=None,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                rust_timeout=QUIET_MS,
                yield_on_timeout=True,
                stop_event=stop,
                recursive=self._recursive,
            ):
                if any(kind == Change.deleted and path in places for kind, path in changes):
                    stop.set()  # one that is made anew can have the same number
                if changes or not begun:
                    begun, self.trouble = True, None
                    with suppress(RuntimeError):  # the loop has ended
                        self._loop.call_soon_threadsafe(self.happened.set)
        except FileNotFoundError:  # it just went
            pass
        except Exception as error:  # such as too many watches for the system's limit
            self.trouble = error


def _number(folder: str) -> tuple[int, int] | None:
    """Return what no other folder has; nothing where there is none."""
    try:
        facts = os.stat(folder)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
