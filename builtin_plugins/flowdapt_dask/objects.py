"""Which objects of a server there are on a cluster: what its Dask scheduler knows of them.

The scheduler holds small objects itself. Large ones are data of workers, which it keeps for us as
it keeps its own published datasets: for a client that is no process, and does not go away. All that
the gateway has done here is pickled by name.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from contextlib import suppress
from typing import Any

from distributed import SchedulerPlugin
from flowdapt_workers.indexes import Index

from flowdapt.objects import Entry

HANDLER = "flowdapt_objects"  #: what a scheduler is asked for by this name is for us


class Objects(SchedulerPlugin):
    """The objects of one server; they end with its gateway.

    :param scheduler: of Dask
    :param topic: a name that no other server has
    :param gateway: the name of the client whose objects these are
    """

    def __init__(self, scheduler: Any, topic: str, gateway: str) -> None:
        self.name = name_of(topic)
        self._scheduler, self._gateway = scheduler, gateway
        self._index = Index(asyncio.get_running_loop().call_later)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Called by Dask when a client has gone; the gateway's takes the objects along."""
        if client == self._gateway:
            self._index = Index(lambda *_: None)
            scheduler.clients.pop(self.name, None)
            scheduler.remove_plugin(name=self.name)

    # What it is asked ------------------------------------------------------------------------

    def keep(self, entry: Entry, ttl: float | None, held: bytes | str) -> None:
        """Keep an object, instead of the one that was there.

        :param held: its bytes, or the key of the data that it is in
        """
        now = time.time()
        expires = None if ttl is None else now + ttl
        facts = entry.namespace, entry.key, "memory", entry.size, entry.type, now, expires
        kept = held if isinstance(held, bytes) else _Data(self._scheduler, self.name, held)
        self._index.put(Entry(*facts), kept, ttl)

    def find(self, namespace: str, key: str) -> bytes | tuple[str, list[str]] | None:
        """Return the bytes of an object, or the key of its data and who has it, or nothing."""
        held = self._index.get(namespace, key)
        return held.where() if isinstance(held, _Data) else held

    def exists(self, namespace: str, key: str) -> bool:
        """Tell whether an object is there."""
        return self._index.get(namespace, key) is not None

    def delete(self, namespace: str, key: str) -> None:
        """Remove an object."""
        self._index.delete(namespace, key)

    def entries(self, namespace: str | None) -> list[Entry]:
        """Return what is there, in one namespace or in all but hidden ones."""
        return self._index.entries(namespace)

    def clear(self, namespace: str) -> None:
        """Remove a namespace."""
        self._index.clear(namespace)

    def stats(self) -> dict[str, int]:
        """Return how many bytes objects take, and the workers may take in all."""
        limits = [worker.memory_limit for worker in self._scheduler.workers.values()]
        return {"used": self._index.used, "capacity": sum(limits)}


class _Data:
    """Data of workers, which Dask keeps for as long as anybody has this.

    :param client: for whom
    """

    def __init__(self, scheduler: Any, client: str, key: str) -> None:
        self._scheduler, self._client, self._key = scheduler, client, key
        scheduler.client_desires_keys([key], client)

    def where(self) -> tuple[str, list[str]]:
        """Return the key of the data, and the addresses of the workers that have it."""
        task = self._scheduler.tasks.get(self._key)
        return self._key, [worker.address for worker in (task.who_has or ())] if task else []

    def __del__(self) -> None:
        with suppress(KeyError):  # the scheduler is being closed
            self._scheduler.client_releases_keys([self._key], self._client)


def name_of(topic: str) -> str:
    """Return what the objects of a server are called in a scheduler, and who wants their data."""
    return f"{topic}-objects"


def arrive(topic: str, gateway: str, dask_scheduler: Any = None) -> None:
    """Have a scheduler know objects of a server."""
    made = Objects(dask_scheduler, topic, gateway)
    dask_scheduler.add_plugin(made, name=made.name)

    def asked(name: str, message: bytes) -> bytes:
        """Answer a gateway or a worker.

        :param message: what of :class:`Objects` is called, and with what, pickled
        """
        what, args = pickle.loads(message)  # noqa: S301 - who reaches a scheduler may run anything
        objects = dask_scheduler.plugins.get(name)
        if objects is None:
            raise KeyError("the server whose objects these were is gone")
        return pickle.dumps(getattr(objects, what)(*args), 5)

    dask_scheduler.handlers[HANDLER] = asked
