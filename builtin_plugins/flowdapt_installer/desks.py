"""Who makes the changes that commands ask for: a server that runs, or one that this process is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flowdapt.client import Client, NoServer, PluginChange, PluginSet
from flowdapt.errors import InvalidInput
from flowdapt.server import Server
from flowdapt_installer import building
from flowdapt_installer.asking import kept
from flowdapt_installer.routes import facts_of, shown_sets
from flowdapt_installer.service import PluginSets

if TYPE_CHECKING:
    import typer

SERVICE = "plugin_sets"
BUILT = (".tar.gz", ".zip")

Shown = Callable[[PluginChange], None]

_T = TypeVar("_T")


class Desk(ABC):
    """Makes changes, and tells of them."""

    @abstractmethod
    def change(
        self, what: Any, names: Sequence[str], facts: dict[str, Any], shown: Shown
    ) -> PluginChange:
        """Make a change; ``shown`` is called as it goes on."""

    @abstractmethod
    def nodes(self, namespace: str) -> dict[str, str]:
        """Return what is wrong, by node."""

    @abstractmethod
    def changes(self) -> Sequence[PluginChange]:
        """Return all changes, the oldest first."""

    @abstractmethod
    def sets(self) -> Sequence[PluginSet]:
        """Return all sets, the oldest first."""


@contextmanager
def desk(ctx: typer.Context) -> Iterator[Desk]:
    """Give a desk: of the server that is meant, or of none where nobody named one that is away."""
    invocation = ctx.obj
    client = invocation.client()
    with client:
        try:
            client.request("GET", "/")
        except NoServer:
            if invocation.server or invocation.context:
                raise
            yield Here(invocation)
        else:
            yield There(client)


class There(Desk):
    """Asks a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def change(
        self, what: Any, names: Sequence[str], facts: dict[str, Any], shown: Shown
    ) -> PluginChange:
        """Have it made there, and follow it; what is a file here is sent."""
        if what in ("install", "upgrade"):
            names = [asyncio.run(_sent(name, self._send)) for name in names]
        ended = self._client.plugins.begin(what, names, **facts)
        for change in self._client.plugins.follow(ended.id):
            shown(change)
            ended = change
        return ended

    async def _send(self, file: str, content: bytes) -> str:
        return self._client.plugins.send(file, content)

    def nodes(self, namespace: str) -> dict[str, str]:
        """Ask for them."""
        found = self._client.plugins.nodes(namespace=namespace)
        return {one.node: one.problem for one in found}

    def changes(self) -> Sequence[PluginChange]:
        """Ask for them."""
        return self._client.plugins.changes()

    def sets(self) -> Sequence[PluginSet]:
        """Ask for them."""
        return self._client.plugins.sets()


class Here(Desk):
    """Is a server for as long as it takes, with nothing but this service."""

    def __init__(self, invocation: Any) -> None:
        settings = invocation.settings()
        settings.app_dir.mkdir(parents=True, exist_ok=True)
        self._settings, self._plugins = settings, invocation.server_plugins(settings)

    def _with(self, work: Callable[[PluginSets], Awaitable[_T]]) -> _T:
        async def done() -> _T:
            only = frozenset({SERVICE})
            async with Server(self._settings, self._plugins, only=only) as server:
                service = server.services[SERVICE]
                assert isinstance(service, PluginSets)  # noqa: S101 - by its name
                return await work(service)

        return asyncio.run(done())

    def change(
        self, what: Any, names: Sequence[str], facts: dict[str, Any], shown: Shown
    ) -> PluginChange:
        """Make it, and wait for its end."""

        async def made(service: PluginSets) -> PluginChange:
            async def keep(file: str, content: bytes) -> str:
                return kept(service.site.warehouse.add(content, file))

            wanted = [*names]
            if what in ("install", "upgrade"):
                wanted = [await _sent(name, keep) for name in names]
            options = {**facts, "restart": False}  # there is no server to be started anew
            change = await service.begin(what, wanted, **options)
            with service.told() as moved:
                while change.spec.ended_at is None:
                    shown(PluginChange.parse(facts_of(change), where="change"))
                    await moved.wait()
                    moved.clear()
                    change = await service.get(change.metadata.name)
            return PluginChange.parse(facts_of(change), where="change")

        return self._with(made)

    def nodes(self, namespace: str) -> dict[str, str]:
        """Look."""
        return self._with(lambda service: service.nodes(namespace))

    def changes(self) -> Sequence[PluginChange]:
        """Read them."""

        async def read(service: PluginSets) -> list[PluginChange]:
            found = await service.records.changes()
            return [PluginChange.parse(facts_of(one), where="change") for one in found]

        return self._with(read)

    def sets(self) -> Sequence[PluginSet]:
        """Read them."""

        async def read(service: PluginSets) -> list[PluginSet]:
            found = await shown_sets(service.records)
            return [PluginSet.parse(one, where="set") for one in found]

        return self._with(read)


async def _sent(name: str, send: Callable[[str, bytes], Awaitable[str]]) -> str:
    """Return the requirement for what somebody named; what is a file or a folder here is sent.

    :raises InvalidInput: it looks like a path, and nothing is there
    """
    place = _place(name)
    if place is None:
        return name
    if place.suffix == ".whl":
        return await send(place.name, await asyncio.to_thread(place.read_bytes))
    return await send(*await building.built(place))


def _place(name: str) -> Path | None:
    """Return the file or folder that is meant; nothing where it is a requirement."""
    place = Path(name).expanduser()
    is_path = "/" in name or name in (".", "..") or name.startswith("~")
    if place.is_dir():
        if any((place / file).exists() for file in ("pyproject.toml", "setup.py")):
            return place
        if is_path:  # and no folder that only happens to be called so
            raise InvalidInput(f"{name} is no project: it has no pyproject.toml")
        return None
    if building.is_git(name) or " @ " in name:
        return None
    if name.endswith((".whl", *BUILT)) or is_path:
        if not place.is_file():
            raise InvalidInput(f"there is no {name}")
        return place
    return None
