"""A server put together from settings and plugins: storage, executor, engine and services."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

from flowdapt.context import Address, Places
from flowdapt.engine import Engine
from flowdapt.errors import ServerError, SettingsError
from flowdapt.executors import Executor, Host
from flowdapt.objects import Memory
from flowdapt.plugins import Plugins, State
from flowdapt.resources import KINDS, Resource
from flowdapt.services import Service, serving
from flowdapt.settings import Component, Settings
from flowdapt.snapshots import Root, Snapshots
from flowdapt.storage import Storage
from flowdapt.walks import stage_types

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

LOCK = "server.lock"  #: in the application directory; says who is there
USER_MODULES = "user_modules"
SNAPSHOTS = "code"


class Server:
    """Everything that one process serves, as an async context: all of it up, or nothing.

    :param roots: folders with user modules, beside the one in the application directory
    :param only: names of the services to start; absent, all that the settings do not disable
    """

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        *,
        roots: tuple[Root, ...] = (),
        only: frozenset[str] | None = None,
    ) -> None:
        self.settings, self.plugins, self.only = settings, plugins, only
        self.roots = (Root(settings.app_dir, settings.app_dir / USER_MODULES), *roots)
        self.services: dict[str, Service] = {}
        #: where the server can be reached, as services report it, such as ``http://127.0.0.1:8080``
        self.addresses: dict[str, str] = {}
        self.stopping = asyncio.Event()
        self.restarting = False  #: whether whoever runs it is to start it anew once it stopped
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        settings, plugins, app_dir = self.settings, self.plugins, self.settings.app_dir
        async with AsyncExitStack() as stack:
            self._lock = stack.enter_context(_locked(app_dir))
            self._log_what_is_left_out()
            _make_user_modules(app_dir)
            self.storage: Storage = made(plugins, "storages", settings.database, app_dir=app_dir)
            stack.push_async_callback(self.storage.stop)
            await self.storage.start()
            compute = settings.services.compute
            self.executor: Executor = made(plugins, "executors", compute.executor)
            self.memory: Memory | None = memory(plugins, settings, auto=self.executor.memory)
            if self.memory is not None:
                stack.callback(self.memory.close)
            self.places = placed(plugins, settings, self.memory)
            self.engine = Engine(
                self.storage,
                self.executor,
                Host(
                    app_dir=app_dir,
                    places=self.places,
                    snapshots=Snapshots(self.roots, app_dir / SNAPSHOTS),
                    log_level=logging.getLevelNamesMapping()[settings.logging.level.upper()],
                ),
                kinds=kinds(plugins),
                types=stage_types(plugins),
                namespace=compute.default_namespace,
                keep_runs=compute.run_retention_duration != 0,
                log_limit=settings.logging.run_limit,
            )
            self.engine.govern(plugins)
            for name in plugins.providers("secrets"):  # a stranger's comes last, and is taken
                keeper = plugins.resolve("secrets", name)(self.storage, settings.app_dir)
                self.engine.seal = keeper.seal
            if plugins.listen:  # or every event would be built for nobody
                stack.enter_context(self.engine.events.listening(plugins.notify))
            stack.push_async_callback(self.engine.stop)
            await self.engine.start()
            await stack.enter_async_context(serving(self._chosen_services()))
            _note(self._lock, self.addresses, self.places)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.stopping.set()
        await self._stack.aclose()

    def restart(self) -> None:
        """Have whoever runs the server drain it, stop it, and start it anew."""
        if self.restarting:  # a second signal would end what is drained
            return
        self.restarting = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _log_what_is_left_out(self) -> None:
        for plugin in self.plugins.list():
            if plugin.state in (State.QUARANTINED, State.INCOMPATIBLE):
                state, reason = plugin.state.value, plugin.reason
                logger.warning("plugin %s is %s: %s", plugin.name, state, reason)
        for key in self.settings.unknown:
            logger.warning("setting %s means nothing", key)

    def _chosen_services(self) -> list[Service]:
        offered = self.plugins.providers("services")
        asked_for = [name for name in offered if self.only is None or name in self.only]
        wanted = filter(self.settings.service_enabled, asked_for)
        for name, made in self.plugins.importable("services", wanted, what="service"):
            try:
                self.services[name] = made(self, **self.settings.service_options(name))
            except Exception as error:
                error.add_note(f"services:{name}")  # what of a plugin it was
                raise
        for name in sorted((self.only or frozenset()) - set(self.services)):
            self.plugins.resolve("services", name)  # raises, saying what there is instead
            raise SettingsError(f"service {name!r} is asked for, and disabled in the settings")
        order = sorted(self.services, key=lambda name: (self.services[name].order, name))
        return [self.services[name] for name in order]


def kinds(plugins: Plugins) -> Mapping[str, type[Resource]]:
    """Return the models of the kernel's kinds and of those that plugins offer."""
    offered = plugins.importable("kinds", plugins.providers("kinds"), what="kind")
    return {**KINDS, **dict(offered)}


def made(plugins: Plugins, part: str, component: Component, **facts: Any) -> Any:
    """Make the part that the settings name.

    :raises SettingsError: its options are not what the part takes
    """
    made = plugins.resolve(part, component.target)
    try:
        return made(**facts, **component.options)
    except (TypeError, ValueError) as error:
        message = str(error).partition("() ")[2] or str(error)
        raise SettingsError(f"the settings of {part} {component.target!r}: {message}") from error


def memory(plugins: Plugins, settings: Settings, *, auto: str) -> Memory | None:
    """Make the memory that the settings name; nothing where no plugin offers any.

    :param auto: the one that ``auto`` means
    """
    if not plugins.providers("memories"):
        return None
    chosen = settings.memory
    name = auto if chosen.target == "auto" else chosen.target
    named = Component(target=name, options=chosen.options)
    return cast("Memory", made(plugins, "memories", named, app_dir=settings.app_dir))


def placed(plugins: Plugins, settings: Settings, memory: Memory | None) -> Places:
    """Return where objects are, with this memory and the artifacts that the settings mean."""
    storage = settings.storage.model_dump()
    if storage["protocol"] == "file" and not storage["base_path"]:
        storage["base_path"] = str(settings.app_dir)
    artifacts = [
        Address(provider.target, json.dumps(storage))
        for provider in plugins.providers("artifacts").values()
    ]
    strategy = settings.services.compute.default_os_strategy
    return Places(
        memory.address if memory else None, artifacts[-1] if artifacts else None, strategy
    )


def _make_user_modules(app_dir: Path) -> None:
    folder = app_dir / USER_MODULES
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").touch(exist_ok=True)


@contextmanager
def _locked(app_dir: Path) -> Iterator[IO[str]]:
    """Hold the application directory: one server each.

    :raises ServerError: another server holds it, or it cannot be written to
    """
    try:
        lock = open(app_dir / LOCK, "a+")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ServerError(
            f"the application directory {app_dir} cannot be written to ({error.strerror}); "
            "choose another with --app-dir or FLOWDAPT__APP_DIR"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerError(_held(app_dir, lock)) from None
        os.fchmod(lock.fileno(), 0o600)  # it says how to reach artifacts, with the password
        _note(lock, {}, None)
        yield lock


def _note(lock: IO[str], addresses: Mapping[str, str], places: Places | None) -> None:
    """Tell others which process is here: a second server, and whoever shares objects with it."""
    lock.seek(0)
    lock.truncate()
    facts = {"pid": os.getpid(), "addresses": addresses}
    json.dump(facts | ({"places": astuple(places)} if places else {}), lock)
    lock.flush()


def _held(app_dir: Path, lock: IO[str]) -> str:
    lock.seek(0)
    try:
        facts = json.load(lock)
    except ValueError:  # it is just starting
        facts = {}
    who = f"process {facts['pid']}" if "pid" in facts else "another process"
    where = ", ".join(facts.get("addresses", {}).values())
    at = f" at {where}" if where else ""
    return (
        f"the application directory {app_dir} belongs to a running server ({who}{at}); "
        "stop it, or choose another directory with --app-dir"
    )
