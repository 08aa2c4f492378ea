"""The memory that runs share, as in earlier releases; see ``flowdapt.objects``.

It is that of the server, whatever executor there is: ``backend`` and further parameters are taken
and mean nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from flowdapt import objects
from flowdapt.objects import Strategy

__all__ = [
    "ClusterMemory",
    "check_for_key_in_cluster_memory",
    "delete_from_cluster_memory",
    "get_cluster_memory",
    "get_cluster_memory_backend",
    "get_from_cluster_memory",
    "put_in_cluster_memory",
]

_HERE = Strategy.CLUSTER_MEMORY


class ClusterMemory(ABC):
    """Values by key, in namespaces; by default that of the run."""

    @abstractmethod
    def get(self, key: str, *, namespace: str = "") -> Any:
        """Return a value.

        :raises KeyError: it is not there
        """

    @abstractmethod
    def put(self, key: str, value: Any, *, namespace: str = "") -> None:
        """Keep a value, instead of the one that was there."""

    @abstractmethod
    def delete(self, key: str, *, namespace: str = "") -> None:
        """Remove a value; silent if it is not there."""

    @abstractmethod
    def clear(self, *, namespace: str = "") -> None:
        """Remove all values of a namespace."""

    @abstractmethod
    def exists(self, key: str, *, namespace: str = "") -> bool:
        """Tell whether a value is there."""


class _Shared(ClusterMemory):
    """That of the server."""

    def get(self, key: str, *, namespace: str = "") -> Any:
        return objects.get(key, namespace=namespace, strategy=_HERE)

    def put(self, key: str, value: Any, *, namespace: str = "") -> None:
        objects.put(key, value, namespace=namespace, strategy=_HERE)

    def delete(self, key: str, *, namespace: str = "") -> None:
        objects.delete(key, namespace=namespace, strategy=_HERE)

    def clear(self, *, namespace: str = "") -> None:
        for entry in list(objects.list(namespace=namespace, strategy=_HERE)):
            objects.delete(entry.key, namespace=namespace, strategy=_HERE)

    def exists(self, key: str, *, namespace: str = "") -> bool:
        found: bool = objects.exists(key, namespace=namespace, strategy=_HERE)
        return found


def get_cluster_memory() -> ClusterMemory:
    """Return the memory of the run, or that of any process outside of runs."""
    return _Shared()


def get_cluster_memory_backend(backend: str = "", **kw: Any) -> ClusterMemory:
    """Return the memory of the run."""
    return _Shared()


def put_in_cluster_memory(
    key: str, value: Any, *, namespace: str = "", backend: str | None = None, **kw: Any
) -> None:
    """Keep a value, instead of the one that was there."""
    get_cluster_memory().put(key, value, namespace=namespace)


def get_from_cluster_memory(
    key: str, *, namespace: str = "", backend: str | None = None, **kw: Any
) -> Any:
    """Return a value.

    :raises KeyError: it is not there
    """
    return get_cluster_memory().get(key, namespace=namespace)


def delete_from_cluster_memory(
    key: str, *, namespace: str = "", backend: str | None = None, **kw: Any
) -> None:
    """Remove a value; silent if it is not there."""
    get_cluster_memory().delete(key, namespace=namespace)


def check_for_key_in_cluster_memory(
    key: str, *, namespace: str = "", backend: str | None = None, **kw: Any
) -> bool:
    """Tell whether a value is there."""
    return get_cluster_memory().exists(key, namespace=namespace)
