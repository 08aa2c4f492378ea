"""How the code of a stage asks the server something, and how it is answered."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple
from uuid import UUID

from flowdapt.executors import Ask, Host
from flowdapt.texts import to_json


class Asked(NamedTuple):
    """A question, as the code of a stage has it.

    :param idle: the answer takes as long as other stages take, for which its processor is free
    """

    kind: str
    item: int | None
    about: bytes
    idle: bool


class Asks(ABC):
    """How the code of one attempt asks the server; the context of its run has it."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int | None, bytes]] = Counter()
        self._counting = threading.Lock()

    def count(self, item: int | None, about: bytes) -> int:
        """Return how often the same was asked before, for the same element."""
        with self._counting:
            self._counts[item, about] += 1
            return self._counts[item, about] - 1

    @abstractmethod
    def wait(self, asked: Asked) -> bytes:
        """Ask, and wait for the answer, in whatever thread.

        :raises RuntimeError: this thread must not wait
        """

    @abstractmethod
    async def answer(self, asked: Asked) -> bytes:
        """Ask, and have the answer awaited; who stops waiting asks no more."""

    @abstractmethod
    def close(self) -> None:
        """Have nobody wait any more, because the attempt is to end; later questions are in vain."""


async def answered(host: Host, ask: Ask) -> bytes:
    """Return the answer of a server, or its error as JSON: an object with ``error``."""
    if host.on_ask is None:
        return NOBODY
    try:
        return await host.on_ask(ask)
    except Exception as error:
        return _error(type(error).__name__, str(error))


def _error(kind: str, message: str) -> bytes:
    return to_json({"error": {"type": kind, "message": message}})


#: the answer where stages are computed without a server
NOBODY = _error("LookupError", "no server computes this stage: there is nobody to ask")


# In a process that computes ----------------------------------------------------------------------


class Questions:
    """What a process asked the server, and has no answer to.

    :param send: sends a message, with the number of the question and it, or nothing once nobody
        waits for the answer any more; the first argument is the number of what is computed
    """

    def __init__(self, send: Callable[[int, int, Asked | None], None]) -> None:
        self._send = send
        self._numbers = itertools.count(os.getpid() << 32)  # no other process here has them
        self._open: dict[int, tuple[int, Future[bytes]]] = {}

    def ask(self, unit: int, asked: Asked) -> tuple[int, Future[bytes]]:
        """Ask something for what is computed under a number."""
        number, answer = next(self._numbers), Future[bytes]()
        self._open[number] = unit, answer
        self._send(unit, number, asked)
        return number, answer

    async def awaited(self, unit: int, asked: Asked) -> bytes:
        """Ask something, and take it back when this is cancelled."""
        number, answer = self.ask(unit, asked)
        try:
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            if self._open.pop(number, None) is not None:
                self._send(unit, number, None)
            raise

    def answered(self, number: int, text: bytes) -> None:
        """Take an answer."""
        _, answer = self._open.pop(number, (0, None))
        if answer is not None and not answer.done():
            answer.set_result(text)

    def forget(self, unit: int) -> None:
        """Let nobody wait any more for answers to what was asked by one that ended or is to."""
        for number, (of, answer) in list(self._open.items()):
            if of == unit:
                self._open.pop(number, None)
                answer.cancel()


# In the server -----------------------------------------------------------------------------------


class Answering:
    """Has questions of one unit answered.

    :param host: answers them
    """

    def __init__(self, host: Host, run: UUID, stage: str, attempt: int) -> None:
        self._host, self._of, self._attempt = host, (run, stage), attempt
        self._asked: dict[int, tuple[asyncio.Task[bytes], bool]] = {}

    def ask(self, number: int, asked: Asked | None, tell: Callable[[bytes], None]) -> None:
        """Have a question answered, or nobody wait any more for the answer to an earlier one."""
        if asked is None:
            if number in self._asked:
                self._asked.pop(number)[0].cancel()
            return
        ask = Ask(asked.kind, *self._of, asked.item, self._attempt, asked.about)
        task = asyncio.create_task(answered(self._host, ask))
        self._asked[number] = task, asked.idle

        def done(_: object) -> None:
            self._asked.pop(number, None)
            if not task.cancelled():
                tell(task.result())

        task.add_done_callback(done)

    @property
    def idle(self) -> bool:
        """Whether who asked waits for others to be computed."""
        return any(idle for _, idle in self._asked.values())

    def close(self) -> None:
        """Have nobody wait for any answer any more."""
        for task, _ in self._asked.values():
            task.cancel()
