"""A process between the server and a cluster, which holds what the cluster computed.

The engines' own clients are not for a process that must not end: Ray's ends its process a minute
after the head node was lost, and Dask's takes the event loop for tenths of a second. Here that
costs the gateway; the server starts another one.

From the server: ``("open", target, options, Surroundings)``, ``("context", run, bytes)``,
``("code", name, bytes)``, ``("forget", name)``, ``("submit", Order)``,
``("cancel", id, numbers)``,
``("expire", number)``, which is answered like a submitted order unless its answer is on its way,
``("release", run)``, ``("answer", number, question, text)``, ``("fetch", id, parts)``,
``("prepare", id, plugins, wheels, look)``; it ends with the connection.
To the server: ``("up", facts)`` or ``("unavailable", message, final)`` once,
``("nodes", [Node])`` whenever they changed,
``("started", number, worker)``, ``("entered", number)``,
``("done", number, Done)``, ``("failed", number, Failed)``, ``("lost", number, cause)``,
``("expired", number)``, ``("gone", number)`` where blocks are lost for good,
``("fetched", id, payloads or None)``,
``("prepared", id, problems by node, or None)``,
``("cancelled", id, None)`` once nothing of that is computed any more,
``("log", run, stage, lines, count)``, ``("items", number, first, texts)``,
``("ask", number, question, Asked, run, stage, attempt)``, ``("down", reason)``.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from flowdapt.executors import LOST_ATTEMPTS
from flowdapt.hooks import load
from flowdapt_workers import wire
from flowdapt_workers.asking import Asked
from flowdapt_workers.calls import Done, Failed, Order
from flowdapt_workers.clusters import (
    Answer,
    Block,
    BlocksLost,
    Cluster,
    ClusterUnavailable,
    OrderLost,
    Surroundings,
)
from flowdapt_workers.parts import Held
from flowdapt_workers.sockets import MemorySocket

logger = logging.getLogger(__name__)

NODES_SECONDS = 1.0  #: how often the cluster is asked for its nodes
CLOSE_SECONDS = 10.0  #: how long a cluster may take to end

_Elements = list[tuple[int, int, tuple[int, ...] | None]]  #: first, count and places of pieces


def main() -> None:
    """Serve until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the server alone
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(Gateway().serve(socket.socket(fileno=int(sys.argv[1]))))


class Gateway:
    """Passes orders on to a cluster, and answers back."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._channel: wire.Channel
        self._contexts: dict[str, bytes] = {}
        self._codes: dict[str, bytes] = {"": b""}
        self._blocks: dict[int, Block] = {}
        self._made: dict[int, tuple[Order, _Elements]] = {}  # what makes a block once more
        self._again: dict[int, asyncio.Task[None]] = {}
        self._of_run: dict[str, set[int]] = {}
        self._computing: dict[int, asyncio.Task[None]] = {}
        self._expired: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._socket: MemorySocket | None = None

    async def serve(self, end: socket.socket) -> None:
        """Work until the server is gone, or the cluster."""
        self._channel = await wire.Channel.over(end, self._received, self._ended.set)
        await self._ended.wait()
        tasks = [*self._computing.values(), *self._again.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        if self._cluster is not None:
            try:
                await asyncio.wait_for(self._cluster.close(), CLOSE_SECONDS)
            except Exception:  # it may be gone
                logger.warning("the cluster was not closed cleanly", exc_info=True)
        self._channel.close()

    def _received(self, message: wire.Message) -> None:
        kind, *rest = message
        getattr(self, f"_on_{kind}")(*rest)

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done_later)
        return task

    def _done_later(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the gateway failed at something", exc_info=error)

    # Opening ---------------------------------------------------------------------------------

    def _on_open(self, target: str, options: dict[str, Any], surroundings: Surroundings) -> None:
        self._later(self._open(target, options, surroundings))

    async def _open(self, target: str, options: dict[str, Any], about: Surroundings) -> None:
        try:
            cluster: Cluster = load(target)(self, about, **options)
            facts = await cluster.open()
            nodes = await cluster.nodes()
        except ClusterUnavailable as error:
            self._channel.send(("unavailable", str(error), error.final))
            return
        except Exception as error:
            logger.exception("the cluster cannot be opened")
            said = f"{type(error).__name__}: {error}"
            self._channel.send(("unavailable", said, isinstance(error, TypeError | ImportError)))
            return
        self._cluster = cluster
        memory = cluster.memory()
        if about.socket is not None and memory is not None:
            self._socket = MemorySocket(memory, about.socket)
        self._channel.send(("nodes", list(nodes)))
        self._channel.send(("up", dict(facts)))
        while True:
            await asyncio.sleep(NODES_SECONDS)
            try:
                found = await cluster.nodes()
            except Exception as error:  # whoever computes will say so, too
                logger.warning("the nodes of the cluster are not known: %r", error)
                continue
            if found != nodes:
                nodes = found
                self._channel.send(("nodes", list(nodes)))

    # Told by the cluster ---------------------------------------------------------------------

    def started(self, order: Order, worker: str) -> None:
        """Pass on that an order is computed now."""
        self._channel.send(("started", order.number, worker))

    def entered(self, order: Order) -> None:
        """Pass on that an order's function is called now."""
        self._channel.send(("entered", order.number))

    def log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        """Pass on what a stage wrote."""
        self._channel.send(("log", run, stage, lines, count))

    def items(self, order: Order, first: int, texts: Sequence[bytes]) -> None:
        """Pass on what the generator of an order yielded."""
        self._channel.send(("items", order.number, first, texts))

    def ask(self, order: Order, question: int, asked: Asked | None) -> None:
        """Pass on what the code of an order asks."""
        of = order.task.run, order.task.stage, order.attempt + order.failed
        self._channel.send(("ask", order.number, question, asked, *of))

    def _on_answer(self, number: int, question: int, text: bytes) -> None:
        if self._cluster is not None:
            self._cluster.answer(number, question, text)

    def down(self, reason: str) -> None:
        """Say that the cluster is gone, and end."""
        self._channel.send(("down", reason))
        self._ended.set()

    # Orders ----------------------------------------------------------------------------------

    def _on_context(self, run: str, block: bytes) -> None:
        self._contexts[run] = block

    def _on_code(self, name: str, source: bytes) -> None:
        self._codes[name] = source

    def _on_forget(self, code: str) -> None:
        del self._codes[code]

    def _on_submit(self, order: Order) -> None:
        # Taken now, because another one may be forgotten before the task begins.
        common = self._contexts.get(order.task.run, b""), self._codes[order.code]
        task = asyncio.create_task(self._compute(order, *common))
        self._computing[order.number] = task
        task.add_done_callback(lambda _: self._settled(order.number))

    def _settled(self, number: int) -> None:
        del self._computing[number]
        self._expired.discard(number)

    async def _compute(self, order: Order, context: bytes, code: bytes) -> None:
        try:
            answer, block = await self._computed(order, context, code)
            self._keep(order, block, answer)
            text = answer.json if isinstance(answer, Done) else None
            if isinstance(text, Held):
                (text,) = await self._fetched([text])
        except OrderLost as lost:
            self._channel.send(("lost", order.number, str(lost)))
        except BlocksLost:
            self._channel.send(("gone", order.number))
        except asyncio.CancelledError:
            if order.number in self._expired:
                self._channel.send(("expired", order.number))
            raise
        except Exception as error:
            logger.exception("an order of stage %r failed", order.task.stage)
            self._channel.send(("lost", order.number, f"{type(error).__name__}: {error}"))
        else:
            if isinstance(answer, Done):
                self._channel.send(("done", order.number, answer, text))
            else:
                self._channel.send(("failed", order.number, answer))

    def _keep(self, order: Order, block: Block | None, answer: Done | Failed) -> None:
        if block is None or order.task.run not in self._contexts:  # released meanwhile
            return
        self._blocks[order.block] = block
        self._made[order.block] = order, _elements_of(answer)
        self._of_run.setdefault(order.task.run, set()).add(order.block)

    async def _computed(self, order: Order, context: bytes, code: bytes) -> Answer:
        """Have an order computed, and before it whatever it takes and is gone."""
        assert self._cluster is not None  # noqa: S101 - orders come once it is up
        tries: Counter[int] = Counter()
        while True:
            missing = [number for number in order.needs if number not in self._blocks]
            if missing:
                raise BlocksLost(missing)
            blocks = {number: self._blocks[number] for number in order.needs}
            try:
                return await self._cluster.compute(order, context, code, blocks)
            except BlocksLost as lost:  # some clusters tell of one at a time
                tries.update(lost.numbers)
                if max(tries.values()) > LOST_ATTEMPTS:
                    raise
                logger.warning("stage %r: %s, and are made again", order.task.stage, lost)
                old = [n for n in lost.numbers if self._blocks.get(n) is blocks[n]]
                await asyncio.gather(*map(self._make_again, old))

    async def _make_again(self, number: int) -> None:
        """Compute once more what was lost with a node; once, whoever else asks for it."""
        if number not in self._again:
            self._again[number] = asyncio.create_task(self._made_again(number))
            self._again[number].add_done_callback(lambda _: self._again.pop(number, None))
        try:
            await asyncio.shield(self._again[number])
        except asyncio.CancelledError:
            if number in self._made:
                raise
            raise BlocksLost([number]) from None  # its run was released

    async def _made_again(self, number: int) -> None:
        if number not in self._made:
            raise BlocksLost([number])
        order, elements = self._made[number]
        context, code = self._contexts[order.task.run], self._codes[order.code]
        answer, block = await self._computed(order, context, code)
        # Others may have failed this time, and what was lost is asked for by its place.
        if block is None or _elements_of(answer) != elements:
            self._made.pop(number, None)
            logger.error("stage %r, made again, is not what it was: %r", order.task.stage, answer)
            raise BlocksLost([number])
        self._keep(order, block, answer)

    def _on_cancel(self, number: int, orders: list[int]) -> None:
        computing = [self._computing[order] for order in orders if order in self._computing]
        for task in computing:
            task.cancel()
        self._later(self._tell_once_ended(number, computing))

    async def _tell_once_ended(self, number: int, computing: list[asyncio.Task[None]]) -> None:
        if computing:
            await asyncio.wait(computing)
        self._channel.send(("cancelled", number, None))

    def _on_expire(self, number: int) -> None:
        if number in self._computing:
            self._expired.add(number)
            self._computing[number].cancel()

    def _on_release(self, run: str) -> None:
        self._contexts.pop(run, None)
        for number in self._of_run.pop(run, ()):
            if (again := self._again.get(number)) is not None:
                again.cancel()
            self._blocks.pop(number, None)
            self._made.pop(number, None)

    # Fetching --------------------------------------------------------------------------------

    def _on_fetch(self, number: int, parts: list[Held]) -> None:
        self._later(self._fetch(number, parts))

    async def _fetch(self, number: int, parts: list[Held]) -> None:
        try:
            found = await self._fetched(parts)
        except Exception as error:
            logger.warning("a result cannot be fetched: %r", error)
            self._channel.send(("fetched", number, None))
        else:
            self._channel.send(("fetched", number, found))

    async def _fetched(self, parts: list[Held]) -> list[bytes]:
        assert self._cluster is not None  # noqa: S101 - nothing is held before it is up
        found: list[bytes] = []
        for part in parts:
            (payload,) = await self._cluster.fetch(self._blocks[part.block], [part])
            found.append(bytes(payload))
        return found

    # Plugins ---------------------------------------------------------------------------------

    def _on_prepare(self, number: int, plugins: str, wheels: str, look: bool) -> None:
        self._later(self._prepare(number, plugins, Path(wheels), look))

    async def _prepare(self, number: int, plugins: str, wheels: Path, look: bool) -> None:
        assert self._cluster is not None  # noqa: S101 - nobody asks before it is up
        try:
            found = dict(await self._cluster.prepare(plugins, wheels, look=look))
        except Exception as error:
            logger.exception("a plugin set cannot be prepared")
            found = {"the cluster": f"{type(error).__name__}: {error}"}
        self._channel.send(("prepared", number, found))


def _elements_of(answer: Done | Failed) -> _Elements:
    """Return which elements an answer has results of, piece by piece."""
    pieces = answer.value.pieces or () if isinstance(answer, Done) else ()
    return [(piece.first, piece.count, piece.places) for piece in pieces]


if __name__ == "__main__":
    main()
