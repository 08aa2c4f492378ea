"""How a worker tells the gateway what a generator yields: at once, and many together where many
come while a message is under way.
"""

from __future__ import annotations

import queue
import threading

from flowdapt_ray.posting import Post

AHEAD_BYTES = 2**20  #: of items that are not under way yet; who yields more waits


class Items:
    """Items of the order at work, which a thread sends on.

    :param post: takes them, together with the other messages of the order
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        # Of the kind that an interruption leaves whole, wherever it hits who puts something in.
        self._queue: queue.SimpleQueue[tuple[int, bytes] | threading.Event] = queue.SimpleQueue()
        self._ahead = 0
        self._thread: threading.Thread | None = None

    def tell(self, number: int, text: bytes) -> None:
        """Have an item sent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, daemon=True, name="items")
            self._thread.start()
        self._queue.put((number, text))
        self._ahead += len(text)
        if self._ahead > AHEAD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Wait until all items are sent."""
        if self._thread is not None and self._ahead:
            self._ahead = 0
            sent = threading.Event()
            self._queue.put(sent)
            sent.wait()

    def _serve(self) -> None:
        while True:
            found = [self._queue.get()]
            while not self._queue.empty():
                found.append(self._queue.get())
            items = [one for one in found if not isinstance(one, threading.Event)]
            if items:
                self._post.deliver("items", items[0][0], [text for _, text in items])
            for one in found:
                if isinstance(one, threading.Event):
                    one.set()
