"""The contract of a cluster: what a gateway asks of Ray, Dask, or whatever else computes orders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flowdapt.executors import Node
from flowdapt.objects import Entry
from flowdapt_workers.asking import Asked
from flowdapt_workers.calls import Done, Failed, Order
from flowdapt_workers.parts import Held

Block = Any  #: payloads that stay on a cluster; only that cluster looks into it
Answer = tuple[Done | Failed, Block | None]  #: parts that are held point into the block


class ClusterUnavailable(Exception):
    """The cluster cannot be reached, or does not take us.

    :param final: trying again is of no use until somebody changes something
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class OrderLost(Exception):
    """What computed an order died; the message says of what."""


class BlocksLost(Exception):
    """Blocks that an order takes are gone, with the node that had them.

    :param numbers: of these blocks
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(f"blocks {list(numbers)} are gone")
        self.numbers = numbers


class Told(Protocol):
    """What a cluster tells of orders; may be called from the event loop of the gateway only."""

    def started(self, order: Order, worker: str) -> None:
        """An order is computed now; need not be told of short ones."""

    def entered(self, order: Order) -> None:
        """An order's function is called now, and its time counts; told where it has a limit."""

    def log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        """A stage wrote lines; those of an order come before its answer."""

    def items(self, order: Order, first: int, texts: Sequence[bytes]) -> None:
        """The generator of a final call yielded items, which have the numbers from ``first`` on.

        Those of an order come before its answer, in order and each once; where one is lost, those
        behind it need not come.
        """

    def ask(self, order: Order, question: int, asked: Asked | None) -> None:
        """The code of an order asks something; nothing, where it does not wait any more.

        The answer comes by :meth:`Cluster.answer`, also where the order is computed once more.
        """

    def down(self, reason: str) -> None:
        """The cluster is gone; the gateway ends, and another one tries to reach it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cluster is told of the server.

    :param server: a name that no other server has
    :param version: of flowdapt, which every node must have
    :param app_dir: of the server, on its own machine
    :param environment: variables for the processes that compute
    :param log_level: of the records of the logging module that are captured
    :param socket: where the cluster's memory is to be served, if its objects are to be there
    """

    server: str
    version: str
    app_dir: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    log_level: int = 20
    socket: Path | None = None


class Cluster(ABC):
    """Computes orders somewhere else. Lives in a gateway, a process of its own beside the server.

    :param told: is told what happens
    :param surroundings: of the server
    :param options: the keys beside ``target`` in the settings of the executor
    """

    def __init__(self, told: Told, surroundings: Surroundings, **options: Any) -> None:
        self.told, self.surroundings, self.options = told, surroundings, options

    @abstractmethod
    async def open(self) -> Mapping[str, Any]:
        """Start the cluster, or connect to it; return facts for the server's status.

        :raises ClusterUnavailable: saying why, and what would help
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of it; a cluster that :meth:`open` started ends."""

    @abstractmethod
    async def compute(
        self, order: Order, context: bytes, code: bytes, blocks: Mapping[int, Block]
    ) -> Answer:
        """Compute an order; when this is cancelled, so is that, and within a second.

        What is computed knows it at once, see :class:`flowdapt_workers.attempts.Trial`, and has a
        moment to end by itself. Only once it has ended this raises that it was cancelled.

        :param context: the payload of the run's context
        :param code: a snapshot of user modules as :func:`flowdapt.snapshots.activate` takes it,
            pickled; empty where there are none
        :param blocks: those that the order needs, by number
        :raises OrderLost: its worker or its node died
        :raises BlocksLost: some of the blocks are gone
        """

    def answer(self, order: int, question: int, text: bytes) -> None:
        """Answer what the code of an order asked; without effect where nobody waits for it.

        Who waits for what others compute is to keep no processor meanwhile.

        :param order: its number
        """
        del order, question, text  # of a cluster that does not ask

    @abstractmethod
    async def fetch(self, block: Block, parts: Sequence[Held]) -> Sequence[bytes | memoryview]:
        """Return payloads of a block, each packed as one piece of bytes."""

    @abstractmethod
    async def nodes(self) -> Sequence[Node]:
        """Return where orders are computed; total amounts of ``cpus``, ``gpus``, ``memory`` and so
        on are of one node, and no order is larger than that."""

    async def prepare(self, plugins: str, wheels: Path, *, look: bool) -> Mapping[str, str]:
        """Have a plugin set ready on all nodes, those excepted on which nothing is computed.

        What comes to a node that has not prepared a set yet is computed all the same, once it has.

        :param plugins: a :class:`flowdapt_sets.sets.PluginSet` as text
        :param wheels: the folder with its wheels, on the server's machine
        :param look: change nothing, and compare what is there file by file
        :return: what is wrong, by node; empty texts for those that are ready
        """
        del plugins, wheels, look
        return {}

    def memory(self) -> ClusterMemory | None:
        """Return the objects that are kept on the cluster, once it is open; none by default."""
        return None


class ClusterMemory(ABC):
    """Blocks of bytes on a cluster, by namespace and key: a :class:`flowdapt.objects.Memory` for
    who can await it, such as a gateway, through which other processes reach it.
    """

    @abstractmethod
    async def put(
        self,
        namespace: str,
        key: str,
        block: memoryview,
        *,
        type: str = "",  # noqa: A002 - of an Entry
        ttl: float | None = None,
    ) -> None:
        """Keep a block, instead of the one that was there; whoever is asked next has the new one.

        :param ttl: seconds until it is gone
        """

    @abstractmethod
    async def get(self, namespace: str, key: str) -> memoryview | None:
        """Return a block; nothing where there is none."""

    @abstractmethod
    async def exists(self, namespace: str, key: str) -> bool:
        """Tell whether a block is there."""

    @abstractmethod
    async def delete(self, namespace: str, key: str) -> None:
        """Remove a block; silent if it is not there."""

    @abstractmethod
    async def list(self, namespace: str | None) -> Sequence[Entry]:
        """Return what is there, in one namespace or in all but those that begin with a dot."""

    @abstractmethod
    async def clear(self, namespace: str) -> None:
        """Remove a namespace with all that is in it."""

    async def stats(self) -> dict[str, Any]:
        """Return facts such as ``used`` and ``capacity``, in bytes."""
        return {}
