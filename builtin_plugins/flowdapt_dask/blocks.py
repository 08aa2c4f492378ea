"""What orders gave and is large, as the memory of a Dask worker holds it."""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from flowdapt_workers.parts import INLINE_BYTES, Spooled, Woven

from flowdapt_dask.holdings import Holdings

BUFFERS = 5  #: the protocol of pickle from which on it knows of buffers
Payload = bytes | memoryview | Spooled | Woven  #: spooled here, or as it came from another node


class Block:
    """The payloads of one order. Lies in shared memory of its node, until nobody has it any more.

    On its way to another node it is bytes and buffers, so that no Dask process ever needs what
    users made.

    :param payloads: in the order of their places
    """

    def __init__(self, payloads: Sequence[Any]) -> None:
        self._payloads = [_plain(payload) for payload in payloads]
        self._sizes = [_size(payload) for payload in self._payloads]
        self._settling = threading.Lock()
        self._spooled: list[Spooled] = []
        self._holdings: Holdings | None = None
        self._lenders: Sequence[Block] = ()

    @classmethod
    def made(
        cls, payloads: Sequence[Any], run: str, holdings: Holdings, lenders: Sequence[Block]
    ) -> Block:
        """Return the block of an order that was computed here.

        :param lenders: blocks to whose memory the payloads may refer
        """
        block = cls(payloads)
        block._lenders = lenders
        block._keep(run, holdings, [part for whole in payloads for part in _spooled(whole)])
        return block

    def _keep(self, run: str, holdings: Holdings, parts: Sequence[Spooled]) -> None:
        """Take care that memory is given back with this block."""
        if self._holdings is None:
            self._holdings = holdings
            holdings.block(run)
            weakref.finalize(self, holdings.gone, run, self._spooled).atexit = False
        self._spooled += parts

    def __sizeof__(self) -> int:
        """Return what Dask is to reckon with when it moves the block."""
        return sum(self._sizes) + object.__sizeof__(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what makes it again in another process: every payload as one buffer."""
        # What goes through the scheduler is pickled by a protocol that knows no buffers.
        whole: Any = pickle.PickleBuffer if protocol >= BUFFERS else bytes
        return Block, ([whole(self.content(place)) for place in range(len(self._payloads))],)

    def content(self, place: int) -> bytes | memoryview:
        """Return a payload, packed."""
        payload = self._payloads[place]
        if isinstance(payload, Spooled | Woven):
            assert self._holdings is not None  # noqa: S101 - whoever spooled it was given them
            return self._holdings.spool.whole(payload)
        return payload

    def settle(self, places: Sequence[int], run: str, holdings: Holdings) -> None:
        """Put payloads that came from another node where processes of this one find them."""
        with self._settling:
            for place in self.unsettled(places):
                spooled = holdings.spool.store_whole(run, self.content(place))
                self._keep(run, holdings, [spooled])
                self._payloads[place] = spooled

    def part(self, place: int) -> bytes | Spooled | Woven:
        """Return a payload as processes of this node take it, once it is settled."""
        payload = self._payloads[place]
        return bytes(payload) if isinstance(payload, memoryview) else payload

    def unsettled(self, places: Sequence[int]) -> list[int]:
        """Return which of these payloads have to be settled before processes find them."""
        return [
            place
            for place in places
            if isinstance(self._payloads[place], bytes | memoryview)
            and self._sizes[place] > INLINE_BYTES
        ]


async def pick(key: str, places: Sequence[int], *, dask_worker: Any = None) -> list[Any]:
    """Return some payloads of a block that a worker has; called there, and pickled by name."""
    block: Block = dask_worker.data[key]
    return [block.content(place) for place in places]


def _plain(payload: Any) -> Payload:
    """Return a payload that may have come as any kind of buffer."""
    return payload if isinstance(payload, bytes | Spooled | Woven) else memoryview(payload)


def _size(payload: Payload) -> int:
    return len(payload) if isinstance(payload, bytes | memoryview) else payload.size


def _spooled(payload: Payload) -> list[Spooled]:
    """Return what a payload has in memory of its own."""
    own = payload.own if isinstance(payload, Woven) else payload
    return [own] if isinstance(own, Spooled) else []
