"""Contexts and code in Ray's object store, where every node fetches them once, however large."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from flowdapt_ray.attendants import Attendant
from flowdapt_ray.blocks import wrapped

LEAST = 16 * 1024  #: bytes that go with every task; what is larger is put
KEPT_BYTES = 256 * 2**20  #: of what is kept, in case another task takes it, too


class Handed:
    """What was put, by what it is."""

    def __init__(self) -> None:
        self._attendant = Attendant()
        self._puts: OrderedDict[tuple[str, str], tuple[asyncio.Task[Any], int]] = OrderedDict()
        self._bytes = 0

    async def over(self, kind: str, name: str, data: bytes) -> Any:
        """Return what a task is to be given: the bytes, or a reference to a block with them.

        :param name: nothing else of that kind has it
        """
        if len(data) < LEAST:
            return data
        key = kind, name
        if key not in self._puts:
            self._puts[key] = asyncio.create_task(self._put(data)), len(data)
            self._bytes += len(data)
            while self._bytes > KEPT_BYTES and len(self._puts) > 1:
                self._forget(next(iter(self._puts)))
        self._puts.move_to_end(key)
        try:
            return await asyncio.shield(self._puts[key][0])
        except Exception:
            self._forget(key)
            raise

    async def _put(self, data: bytes) -> Any:
        import ray

        return await self._attendant.call(lambda: ray.put(wrapped(data)))

    def _forget(self, key: tuple[str, str]) -> None:
        if (known := self._puts.pop(key, None)) is not None:
            self._bytes -= known[1]

    def forget_all(self) -> None:
        """Put anew what is asked for from now on: some of it was lost."""
        for key in list(self._puts):
            self._forget(key)
