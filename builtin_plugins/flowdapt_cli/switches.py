"""Plugins are left out, or taken in again, by what the settings file says."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt.errors import SettingsError
from flowdapt.server import LOCK
from flowdapt_cli.dossiers import NoSuchPlugin, named
from flowdapt_cli.early import DISABLED, names_in, names_of, normal
from flowdapt_cli.errors import CommandError
from flowdapt_cli.reading import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowdapt.plugins import Plugin
    from flowdapt.settings import Settings

#: What cannot be left out, and why.
NEEDED = {"flowdapt_cli": "it is the command line, and without it nothing could enable it again"}


def disable(names: Sequence[str], plugins: Sequence[Plugin], settings: Settings) -> dict[str, bool]:
    """Have plugins left out from now on: all of them, or none.

    :return: for each plugin, whether the settings file had to be changed for it
    :raises CommandError: one is not installed, or cannot be left out
    """
    chosen = [named(name, plugins) for name in names]
    for plugin in chosen:
        if plugin.built_in and plugin.name in NEEDED:
            raise CommandError(f"{plugin.name} cannot be disabled: {NEEDED[plugin.name]}")
    there = _disabled(settings)
    new = {p.name: not names_of(p) & {*map(normal, there)} for p in chosen}
    _write(settings, [*there, *(name for name, fresh in new.items() if fresh)], any(new.values()))
    return new


def enable(names: Sequence[str], plugins: Sequence[Plugin], settings: Settings) -> dict[str, bool]:
    """Have plugins loaded again, and forget names of what is no longer installed.

    :return: for each name, whether the settings file had to be changed for it
    :raises NoSuchPlugin: one is neither installed nor left out
    """
    there = _disabled(settings)
    gone: dict[str, set[str]] = {}
    for name in names:
        try:
            plugin = named(name, plugins)
            gone[plugin.name] = names_of(plugin)
        except NoSuchPlugin:
            if normal(name) not in map(normal, there):
                raise
            gone[name] = {normal(name)}
    kept = [name for name in there if not any(normal(name) in them for them in gone.values())]
    _write(settings, kept, kept != there)
    return {name: bool(them & {*map(normal, there)}) for name, them in gone.items()}


def remarks(changed: Sequence[Plugin], settings: Settings, *, disabled: bool) -> Iterator[str]:
    """Yield what else somebody has to know who left plugins out, or took them in again."""
    if DISABLED in os.environ:
        yield f"{DISABLED} goes before the settings file: change it, or unset it"
    if not disabled and settings.plugins.safe_mode:
        yield "plugins.safe_mode is set, so that only the plugins of flowdapt itself are loaded"
    for plugin in changed if disabled else ():
        for key, part, name in _wanted(settings):
            if f"{part}:{name}" in plugin.provides:
                yield f"{plugin.name} offers what {key} names, {name!r}: no server starts without"
    if changed and (server := _running(settings)):
        does = "goes on with what it has loaded" if disabled else "goes on without"
        yield f"{server} {does} until it is restarted"


def _wanted(settings: Settings) -> Iterator[tuple[str, str, str]]:
    yield "executor", "executors", settings.services.compute.executor.target
    yield "database", "storages", settings.database.target
    yield "memory", "memories", settings.memory.target


def _running(settings: Settings) -> str:
    """Return how to call the server that has these settings, if one runs."""
    try:
        with (settings.app_dir / LOCK).open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                where = ", ".join(json.load(lock).get("addresses", {}).values())
                return f"the running server ({where})" if where else "the running server"
    except (OSError, ValueError):
        pass  # none has run here, or one is just starting and will read the file
    return ""


# The file ----------------------------------------------------------------------------------------


def _file(settings: Settings) -> Path:
    if settings.config_file is None:
        raise SettingsError("there is no settings file to change: --config is '-'")
    return settings.config_file


def _disabled(settings: Settings) -> list[str]:
    file = _file(settings)
    documents = files.parse(files.text_of(file), file) if file.exists() else []
    return names_in(_section(documents[0].data if documents else {}).get("disabled"))


def _section(data: dict[str, Any]) -> dict[str, Any]:
    found = data.get("plugins")
    return found if isinstance(found, dict) else {}


def _write(settings: Settings, names: list[str], wanted: bool) -> None:
    if wanted:
        with files.editing(_file(settings)) as data:
            data["plugins"] = {**_section(data), "disabled": names}
