"""The smallest cluster there is: it computes in its gateway. What happens to it, files say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flowdapt_workers import capacities, payloads
from flowdapt_workers.calls import Done, Order
from flowdapt_workers.clusters import (
    Answer,
    Block,
    BlocksLost,
    Cluster,
    ClusterUnavailable,
    OrderLost,
)
from flowdapt_workers.computing import Computing
from flowdapt_workers.computing import Mapping as MappedStage
from flowdapt_workers.failures import reported
from flowdapt_workers.output import Output
from flowdapt_workers.parts import INLINE_BYTES, Held, Part
from flowdapt_workers.remote import RemoteExecutor

from flowdapt.executors import Node


class HereExecutor(RemoteExecutor):
    """Stages are computed in the gateway."""

    kind, name, cluster = "here", "Here", "tests.plugins.workers.here:Here"


class Kept:
    """Payloads of one order, and those that it takes."""

    def __init__(self, number: int, blocks: Mapping[int, list[bytes]]) -> None:
        self.number, self.blocks, self.made = number, blocks, list[bytes]()

    def store(self, run: str, segments: payloads.Segments, value: Any) -> Part:
        return self.store_text(run, payloads.pack(segments))

    def store_text(self, run: str, text: bytes) -> bytes | Held:
        if len(text) <= INLINE_BYTES:
            return text
        self.made.append(text)
        return Held(self.number, len(self.made) - 1, len(text))

    def load(self, part: Part) -> Any:
        if isinstance(part, Held):
            return payloads.load(self.blocks[part.block][part.place])
        assert isinstance(part, bytes)
        return payloads.load(part)


class Here(Cluster):
    """A cluster.

    :param folder: its files: ``closed`` keeps it from being opened, ``nodes`` has amounts of
        resources by node, and perhaps its ``problem``, ``lost`` loses the blocks of the next
        order, ``doomed`` likewise, and tells of one at a time, ``dies`` loses that order;
        ``cancelled`` says that one was, which ``slow`` puts off a little
    """

    def __init__(self, *args: Any, folder: str) -> None:
        super().__init__(*args)
        self.folder = Path(folder)
        self._doomed: list[Block] = []

    def _taken(self, name: str) -> bool:
        """Tell whether there is a file, and remove it."""
        there = (self.folder / name).exists()
        (self.folder / name).unlink(missing_ok=True)
        return there

    async def open(self) -> Mapping[str, Any]:
        if (closed := self.folder / "closed").exists():
            raise ClusterUnavailable(closed.read_text())
        return {"address": "here"}

    async def close(self) -> None:
        (self.folder / "ended").touch()

    async def compute(
        self, order: Order, context: bytes, code: bytes, blocks: Mapping[int, Block]
    ) -> Answer:
        if order.needs and self._taken("lost"):
            raise BlocksLost(order.needs)
        if order.needs and self._taken("doomed"):
            self._doomed += blocks.values()
        for number, block in blocks.items():
            if any(block is doomed for doomed in self._doomed):
                raise BlocksLost([number])
        if self._taken("dies"):
            raise OrderLost("killed by the test")
        kept = Kept(order.block, blocks)
        while capacities.shortage(await self.nodes(), order.wanted):  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.01)
        try:
            tell = partial(self._tell, asyncio.get_running_loop(), order)
            done = await asyncio.to_thread(self._work, order, context, kept, tell)
        except asyncio.CancelledError:
            if self._taken("slow"):
                await asyncio.sleep(0.3)
            (self.folder / "cancelled").touch()
            raise
        return done, kept.made or None

    def _tell(
        self, loop: asyncio.AbstractEventLoop, order: Order, number: int, text: bytes
    ) -> None:
        loop.call_soon_threadsafe(self.told.items, order, number, [text])

    def _work(
        self, order: Order, context: bytes, kept: Kept, tell: Callable[[int, bytes], object]
    ) -> Any:
        computing = Computing(kept, Output(lambda *_: None, lambda _, text: text))
        computing.contexts[order.task.run] = known = payloads.load(context)
        try:
            if order.piece is None:
                made = computing.call(order.task, tell)
            else:
                stage = MappedStage(order.task, computing)
                made = computing.chunk(stage, order.piece, order.start, order.count)
            return made if isinstance(made, Done) else asyncio.run(made)
        except Exception as error:
            return reported(error, known.at(order.task.stage))

    async def fetch(self, block: Block, parts: Sequence[Held]) -> Sequence[bytes]:
        return [block[part.place] for part in parts]

    async def nodes(self) -> Sequence[Node]:
        found = json.loads((self.folder / "nodes").read_text())
        made = []
        for name, total in found.items():
            problem = str(total.pop("problem", ""))
            made.append(Node(name, True, total, total, 1, problem=problem))
        return made
