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
        self._parts = _fitting(self.function, parts)
        accepted = inspect.signature(self.function).parameters
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
        if inspect.iscoroutinefunction(self.function):
            await self.function(**given)
        else:
            await _in_thread(partial(self.function, **given))


async def _in_thread(call: Callable[[], object]) -> None:
    """Call in a thread of its own: one that hangs takes none that others wait for."""
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

    threading.Thread(target=work, name="flowdapt-action", daemon=True).start()
    await done


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
    except Exception as error:  # whatever a module of somebody raises
        raise InvalidResource.at(
            "action", place, f"{target!r} cannot be imported: {error}"
        ) from None
    found = getattr(imported, name, None)
    if not callable(found):
        fact = f"module {module!r} has no function {name!r}{nearest(name, dir(imported))}"
        raise InvalidResource.at("action", place, fact)
    return found  # type: ignore[no-any-return]  # whatever a module of somebody has


def _fitting(function: Callable[..., Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of the server that a function takes, by the names of its parameters."""
    fitting = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = parameter.annotation
        of_type = [p for p in parts.values() if isinstance(kind, type) and isinstance(p, kind)]
        if name in parts:
            fitting[name] = parts[name]
        elif of_type and kind is not object:
            fitting[name] = of_type[0]
    return fitting


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in parameters.values())
