"""How a worker tells the gateway what cannot wait for its answer."""

from __future__ import annotations

import os
import pickle
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from flowdapt_ray.names import actor

UNDER_WAY = 32  #: messages that may be under way; whoever writes more waits


class Post:
    """Messages of this process to the actor of its server.

    :param server: the name of the server
    """

    def __init__(self, server: str) -> None:
        self._server, self._pid = server, os.getpid()
        self._actor: Any = None
        self._under_way: deque[Any] = deque()
        self._lock = threading.RLock()
        self._number, self._count = 0, 0

    def begin(self, number: int) -> None:
        """Count for an order what is sent from now on."""
        with self._lock:
            self._number, self._count = number, 0

    def end(self) -> int:
        """Return how many messages there were of the order; later ones are nobody's."""
        with self._lock:
            count, self._number, self._count = self._count, 0, 0
            return count

    def send(self, kind: str, *rest: Any) -> None:
        """Send a message; from any thread."""
        with self._lock:
            self._post(kind, *rest)

    def send_of(self, number: int, kind: str, *rest: Any) -> None:
        """Send a message, unless another order is computed by now."""
        with self._lock:
            if number == self._number:
                self._post(kind, *rest)

    def answer(self, order: int, question: int) -> Any:
        """Return the reference to the answer to a question that was sent."""
        with self._lock:
            if self._actor is None:
                self._actor = actor(self._server)
            return self._actor.answer.remote(order, question)

    def deliver(self, kind: str, *rest: Any) -> None:
        """Send a message, and wait until it is there."""
        import ray

        with self._lock:
            sent = self._post(kind, *rest)
        if sent is not None:
            with suppress(ray.exceptions.RayError):  # as in _post
                ray.get(sent)

    def _post(self, kind: str, *rest: Any) -> Any:
        import ray

        if os.getpid() != self._pid:
            return None  # a child that a stage forked, in which Ray must not be called
        message = pickle.dumps((kind, self._number, self._count, *rest))
        try:
            if self._actor is None:
                self._actor = actor(self._server)
            sent = self._actor.post.remote(message)
            self._under_way.append(sent)
            self._count += 1  # from now on it may come, whatever is raised while we wait
            if len(self._under_way) > UNDER_WAY:
                ray.get(self._under_way.popleft())
        except (ValueError, ray.exceptions.RayError):  # the actor is gone, and so is the server
            return None
        return sent
