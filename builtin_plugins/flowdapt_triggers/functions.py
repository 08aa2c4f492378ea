"""The action that calls a function, which is named by its import path."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from flowdapt.errors import InvalidResource, nearest

if TYPE_CHECKING:
    from flowdapt.server import Server
    from flowdapt_triggers.actions import Firing


MOST_HANGING = 4  #: calls of a trigger that were given up and have not ended


class StillBusy(Exception):
    """A function has not ended though it was given up, more than once."""


class CallFunction:
    """Calls a function in the server's process; one that is not async in a thread.

    Its arguments are the parameters of the same names, and parts of the server by name or by type:
    ``engine`` (earlier releases: ``rpc``), ``database`` for the storage, ``config`` for the
    settings, ``server``; and ``event``.
    """

    starts_run: ClassVar[bool] = False

    def __init__(self, server: Server, parameters: Mapping[str, Any], *, target: str) -> None:
        self.function, self.parameters = _imported(target), parameters
        parts = {
            "engine": server.engine,
            "rpc": server.engine,
            "database": server.storage,
            "config": server.settings,
            "server": server,
        }
        accepted = _signature(self.function, target)
        self._parts = _fitting(accepted, parts)
        self._calls: list[threading.Thread] = []
        self._wants_event = "event" in accepted and "event" not in parameters
        lacking = [
            name
            for name, parameter in accepted.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            and name not in (*parameters, *self._parts, "event")
        ]
        if lacking:
            fact = f"lacks {', '.join(map(repr, lacking))}, which {target} takes"
            raise InvalidResource.at("action", ("action", "parameters"), fact)
        self._names = None if _takes_any(accepted) else set(accepted)

    async def __call__(self, firing: Firing) -> None:
        """Call it, and wait for its end."""
        given = {
            name: value
            for name, value in firing.filled(self.parameters).items()
            if self._names is None or name in self._names
        }
        given |= {name: part for name, part in self._parts.items() if name not in given}
        if self._wants_event:
            given["event"] = firing.occasion.event
        if not inspect.iscoroutinefunction(self.function):
            await self._in_thread(partial(self.function, **given))
            return
        try:
            await self.function(**given)
        except SystemExit as error:  # it would end the server
            raise RuntimeError(repr(error)) from None

    async def _in_thread(self, call: Callable[[], object]) -> None:
        """Call in a thread of its own: one that hangs takes none that others wait for."""
        self._calls = [thread for thread in self._calls if thread.is_alive()]
        if len(self._calls) >= MOST_HANGING:
            raise StillBusy(f"{len(self._calls)} earlier calls have not ended yet")
        thread, done = _begun(call)
        self._calls.append(thread)
        await done


def _begun(call: Callable[[], object]) -> tuple[threading.Thread, asyncio.Future[None]]:
    """Call in a thread; return it, and what is done once it ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def work() -> None:
        error: BaseException | None = None
        try:
            call()
        except BaseException as caught:  # whatever somebody's function raises
            error = caught
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_end, done, error)

    thread = threading.Thread(target=work, name="flowdapt-action", daemon=True)
    thread.start()
    return thread, done


def _end(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))


def _imported(target: str) -> Callable[..., Any]:
    module, _, name = target.rpartition(".")
    place = ("action", "target")
    try:
        imported = import_module(module)
        found = getattr(imported, name, None)
    except (Exception, SystemExit) as error:  # whatever a module of somebody raises
        raise InvalidResource.at(
            "action", place, f"{target!r} cannot be imported: {error}"
        ) from None
    if not callable(found):
        fact = f"module {module!r} has no function {name!r}{nearest(name, dir(imported))}"
        raise InvalidResource.at("action", place, fact)
    return found  # type: ignore[no-any-return]  # whatever a module of somebody has


def _signature(function: Callable[..., Any], target: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        fact = f"{target!r} does not say what it takes; call it from a function of yours"
        raise InvalidResource.at("action", ("action", "target"), fact) from None


def _fitting(accepted: Mapping[str, inspect.Parameter], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of the server that a function takes, by the names of its parameters."""
    fitting = {}
    for name, parameter in accepted.items():
        kind = parameter.annotation
        of_type = [p for p in parts.values() if isinstance(kind, type) and isinstance(p, kind)]
        if name in parts:
            fitting[name] = parts[name]
        elif of_type and kind is not object:
            fitting[name] = of_type[0]
    return fitting


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in parameters.values())
