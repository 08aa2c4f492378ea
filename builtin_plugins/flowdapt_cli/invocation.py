"""What was given before the command: which settings, which server, which plugins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import typer

    from flowdapt.client import Client
    from flowdapt.plugins import Plugin, Plugins
    from flowdapt.settings import Settings


@dataclass(frozen=True)
class Invocation:
    """One call of the program.

    :param config: the settings file, within the application directory; ``-`` for none
    :param overrides: texts such as ``rpc.api.port=9000``
    :param server: the address for commands that ask a server
    :param token: what the server knows the caller by
    :param own_token: whether that stands on the command line, and so goes before a context's
    :param context: names a server and a token, where no address is given
    """

    plugins: Plugins
    app_dir: Path | None = None
    config: str | None = None
    env_files: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    dev: bool = False
    safe_mode: bool = False
    server: str | None = None
    token: str | None = field(default=None, repr=False)
    own_token: bool = False
    context: str | None = None

    def settings(
        self, *overrides: str, app_dir: Path | None = None, write_missing: bool = False
    ) -> Settings:
        """Read the settings.

        :param overrides: further ones, which give way to those of the command line
        :param app_dir: where none was given here
        :param write_missing: write a file with defaults where there is none
        """
        from flowdapt_cli.reading import settings

        return settings.load(
            self.app_dir or app_dir,
            self.config,
            env_files=self.env_files,
            overrides=(*overrides, *self.overrides),
            dev=self.dev,
            write_missing=write_missing,
        )

    def server_plugins(self, settings: Settings) -> Plugins:
        """Return the plugins without those that the settings leave out."""
        from flowdapt_sets import active

        chosen = settings.plugins
        safe = chosen.safe_mode or self.safe_mode
        installed = not safe and active.use(settings.app_dir)  # by the installer
        if not (chosen.disabled or chosen.safe_mode or installed):
            return self.plugins
        return self._loaded(settings, chosen.disabled)

    def plugins_without(self, one: Plugin, plugins: Plugins, settings: Settings) -> Plugins:
        """Return the plugins of a server without one, and without what it has left out already."""
        from flowdapt.plugins import State

        out = [plugin.name for plugin in plugins.list() if plugin.state is State.DISABLED]
        return self._loaded(settings, [*out, one.name])

    def _loaded(self, settings: Settings, disabled: Collection[str]) -> Plugins:
        from flowdapt.plugins import Plugins

        return Plugins.load(
            disabled=disabled,
            safe_mode=settings.plugins.safe_mode or self.safe_mode,
            cache_dir=settings.app_dir / "cache",
        )

    def client(self) -> Client:
        """Return a client of the server that is meant; nothing is sent yet.

        That is the one whose address is given, else that of the context, else the one that has
        these settings.
        """
        from flowdapt.client import Client
        from flowdapt_cli import contexts

        if self.server:
            return Client(self.server, token=self.token)
        if chosen := contexts.read().chosen(self.context):
            known = self.token if self.own_token else chosen.token or self.token
            return Client(chosen.server, token=known)
        return Client(_address(self.settings()), token=self.token)


def invocation(context: typer.Context) -> Invocation:
    """Return what was given before the command."""
    return cast("Invocation", context.obj)


def _address(settings: Settings) -> str:
    """Return where a server with these settings is reached from the same machine."""
    api = settings.rpc.api
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(api.host, api.host)  # noqa: S104
    return f"http://[{host}]:{api.port}" if ":" in host else f"http://{host}:{api.port}"
