"""``put``, ``get``, ``delete`` and ``exists`` as in earlier releases; see ``flowdapt.objects``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle

from flowdapt import objects
from flowdapt.objects import Strategy

__all__ = ["Strategy", "default_load_hook", "default_save_hook", "delete", "exists", "get", "put"]

logger = logging.getLogger(__name__)

Params = Mapping[str, Any] | None
OBJECT = "object"  #: the file, and its ``value_type``


def default_save_hook(serializer: Any = cloudpickle) -> Callable[..., None]:
    """Return a hook that writes what ``serializer.dumps(value)`` returns."""

    def save(artifact: Any, value: Any) -> None:
        content = serializer.dumps(value)
        artifact["value_type"] = OBJECT
        artifact.get_file(OBJECT, create=True).write(content)

    return save


def default_load_hook(serializer: Any = cloudpickle) -> Callable[..., Any]:
    """Return a hook that returns ``serializer.loads(...)`` of what the partner wrote."""

    def load(artifact: Any) -> Any:
        if (found := artifact["value_type"]) != OBJECT:
            logger.warning("%r was saved by another hook, as %r", artifact, found)
        return serializer.loads(artifact.get_file(OBJECT).read())

    return load


_SAVE, _LOAD = default_save_hook(), default_load_hook()


def put(
    key: str,
    value: Any,
    *,
    namespace: str = "",
    artifact_only: bool = False,
    strategy: str | None = None,
    executor: str | None = None,
    save_artifact_hook: Callable[..., Any] = _SAVE,
    cluster_memory_params: Params = None,
    artifact_params: Params = None,
) -> None:
    """Keep a value under a key.

    :param artifact_only: the same as the strategy ``artifact``
    :param executor: means nothing; the memory is that of the server, like what is in
        ``cluster_memory_params``, but for a ``ttl``
    """
    objects.put(
        key,
        value,
        namespace=namespace,
        strategy=_chosen(strategy, artifact_only),
        ttl=(cluster_memory_params or {}).get("ttl"),
        save_artifact_hook=None if save_artifact_hook is _SAVE else save_artifact_hook,
        artifact_params=artifact_params,
    )


def get(
    key: str,
    *,
    namespace: str = "",
    artifact_only: bool = False,
    strategy: str | None = None,
    executor: str | None = None,
    load_artifact_hook: Callable[..., Any] = _LOAD,
    cluster_memory_params: Params = None,
    artifact_params: Params = None,
) -> Any:
    """Return the value under a key, see :func:`put`.

    :raises KeyError: it is not there, with the strategy ``cluster_memory``
    :raises FileNotFoundError: it is not there, with another strategy
    """
    return objects.get(
        key,
        namespace=namespace,
        strategy=_chosen(strategy, artifact_only),
        load_artifact_hook=None if load_artifact_hook is _LOAD else load_artifact_hook,
        artifact_params=artifact_params,
    )


def delete(
    key: str,
    *,
    namespace: str = "",
    artifact_only: bool = False,
    strategy: str | None = None,
    executor: str | None = None,
    cluster_memory_params: Params = None,
    artifact_params: Params = None,
) -> None:
    """Remove the value under a key; silent if there is none."""
    chosen = _chosen(strategy, artifact_only)
    objects.delete(key, namespace=namespace, strategy=chosen, artifact_params=artifact_params)


def exists(
    key: str,
    *,
    namespace: str = "",
    artifact_only: bool = False,
    strategy: str | None = None,
    executor: str | None = None,
    cluster_memory_params: Params = None,
    artifact_params: Params = None,
) -> bool:
    """Tell whether there is a value under a key."""
    chosen = _chosen(strategy, artifact_only)
    found: bool = objects.exists(
        key, namespace=namespace, strategy=chosen, artifact_params=artifact_params
    )
    return found


def _chosen(strategy: str | None, artifact_only: bool) -> str | None:
    return Strategy.ARTIFACT if artifact_only else strategy
