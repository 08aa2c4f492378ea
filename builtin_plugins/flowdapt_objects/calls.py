"""What programs find in ``flowdapt.objects``: put, get, exists, delete and list."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowdapt_workers import payloads

from flowdapt.context import Address, get_run_context
from flowdapt.errors import PluginError, nearest
from flowdapt.objects import Artifacts, Entry, Hook, Memory, attached
from flowdapt_objects.outside import places

logger = logging.getLogger(__name__)

__all__ = ["Strategy", "delete", "exists", "get", "list", "put"]

Params = Mapping[str, Any] | None
NAMES = sys.modules[__name__]  #: what is exported as one


class Strategy(StrEnum):
    """Where an object is kept: the memory, the artifacts, or those if the memory fails."""

    FALLBACK = "fallback"
    ARTIFACT = "artifact"
    CLUSTER_MEMORY = "cluster_memory"


def put(
    key: str,
    value: Any,
    *,
    namespace: str = "",
    strategy: str | None = None,
    ttl: float | None = None,
    save_artifact_hook: Hook = None,
    artifact_params: Params = None,
) -> None:
    """Keep a value under a key, instead of the one that was there.

    :param namespace: by default the run's, or ``default`` outside a run
    :param strategy: a :class:`Strategy`; by default that of the settings
    :param ttl: seconds until the value is gone from memory; artifacts last
    :param save_artifact_hook: writes the value as ``hook(artifact, value)`` where it is kept as an
        artifact; its partner reads it
    :param artifact_params: where artifacts are, if not where the settings say, and ``keep``: how
        many earlier versions stay readable
    :raises flowdapt.errors.ResultNotPicklable: naming the type at fault
    :raises ValueError: the key is no name, or the ``ttl`` no time to live
    """
    at = _here(namespace, strategy)
    if ttl is not None and not (isinstance(ttl, int | float) and 0 < ttl < math.inf):
        raise ValueError(f"ttl {ttl!r} is no time to live: give seconds, more than 0")
    if at.memory is not None:
        try:
            segments = payloads.dump(value, f"object {key!r}")
            facts: dict[str, Any] = {"size": payloads.size(segments), "type": type_of(value)}
            at.memory.put(at.namespace, key, payloads.laid_out(segments), **facts, ttl=ttl)
            return
        except Exception as error:
            at.fall_back(key, error)
    params = dict(artifact_params or {})
    at.artifacts.save(at.namespace, key, value, hook=save_artifact_hook, **params)
    if at.memory is not None:
        with suppress(OSError):  # the memory may be gone
            at.memory.delete(at.namespace, key)  # or an older value would hide this one


def get(
    key: str,
    *,
    namespace: str = "",
    strategy: str | None = None,
    load_artifact_hook: Hook = None,
    artifact_params: Params = None,
) -> Any:
    """Return the value under a key; what is large in it is a view of memory, not a copy.

    Arrays and frames from memory are read-only, and valid as long as they are referred to, also
    when the object was replaced or deleted; ``.copy()`` gives one to change.

    :raises KeyError: it is not there, with the strategy ``cluster_memory``
    :raises FileNotFoundError: it is not there, with another strategy
    """
    at = _here(namespace, strategy)
    if at.memory is not None:
        try:
            return payloads.load(at.memory.get(at.namespace, key), readonly=True)
        except Exception as error:
            at.fall_back(key, error)
    params = dict(artifact_params or {})
    try:
        return at.artifacts.load(at.namespace, key, hook=load_artifact_hook, **params)
    except (FileNotFoundError, ValueError):
        if at.memory is None or at.is_artifact(key, params):
            raise
        raise FileNotFoundError(
            f"no object {key!r} in namespace {at.namespace!r}, neither in memory nor as an artifact"
        ) from None


def exists(
    key: str,
    *,
    namespace: str = "",
    strategy: str | None = None,
    artifact_params: Params = None,
) -> bool:
    """Tell whether :func:`get` would find a value."""
    at = _here(namespace, strategy)
    if at.memory is not None and at.memory.exists(at.namespace, key):
        return True
    return at.in_artifacts and at.is_artifact(key, dict(artifact_params or {}))


def delete(
    key: str,
    *,
    namespace: str = "",
    strategy: str | None = None,
    artifact_params: Params = None,
) -> None:
    """Remove the value under a key, wherever :func:`get` would find it; silent if there is none."""
    at = _here(namespace, strategy)
    if at.memory is not None:
        at.memory.delete(at.namespace, key)
    params = dict(artifact_params or {})
    if at.in_artifacts and at.is_artifact(key, params):
        at.artifacts.delete(at.namespace, key, **params)


def list(*, namespace: str = "", strategy: str | None = None) -> Iterator[Entry]:  # noqa: A001
    """Yield what is known of the objects of a namespace."""
    at = _here(namespace, strategy)
    if at.memory is not None:
        yield from at.memory.list(at.namespace)
    if at.in_artifacts:
        yield from at.artifacts.list(at.namespace)


def type_of(value: Any) -> str:
    """Return what an :class:`Entry` has as the type of a value."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


# Where that is -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _At:
    """Where a call looks; without a memory where only artifacts are meant."""

    namespace: str
    strategy: Strategy
    memory: Memory | None
    address: Address | None

    @property
    def artifacts(self) -> Artifacts:
        if self.address is None:
            raise PluginError("no plugin here keeps artifacts; flowdapt_artifacts does")
        found: Artifacts = attached(self.address)
        return found

    @property
    def in_artifacts(self) -> bool:
        return self.strategy is not Strategy.CLUSTER_MEMORY

    def is_artifact(self, key: str, params: dict[str, Any]) -> bool:
        """Tell whether there is an artifact of that name; some keys are names in memory only."""
        try:
            return self.artifacts.exists(self.namespace, key, **params)
        except ValueError:
            if self.memory is None:
                raise
            return False

    def fall_back(self, key: str, error: Exception) -> None:
        """Go on to the artifacts after an error of the memory; raise it if it is the caller's."""
        if not self.in_artifacts or isinstance(error, ValueError):
            raise error
        if not isinstance(error, KeyError):
            logger.warning("object %r goes by the artifacts: %s", key, error)


def _here(namespace: str, strategy: str | None) -> _At:
    try:
        context = get_run_context()
    except RuntimeError:
        context = None
    found = (context and context.objects) or places()
    chosen = _strategy(strategy or found.strategy)
    memory = None
    if chosen is not Strategy.ARTIFACT and found.memory is not None:
        memory = attached(found.memory)
    elif chosen is Strategy.CLUSTER_MEMORY:
        raise PluginError("no plugin here offers a memory; flowdapt_memory does")
    named = namespace or (context.namespace if context else "default")
    return _At(named, chosen, memory, found.artifacts)


def _strategy(name: str) -> Strategy:
    try:
        return Strategy(name)
    except ValueError:
        there = [one.value for one in Strategy]
        near = nearest(str(name), there)
        raise ValueError(f"{name!r} is no strategy{near}; there are {', '.join(there)}") from None
