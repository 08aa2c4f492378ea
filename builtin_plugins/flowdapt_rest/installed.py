"""What plugins there are: those that the server has loaded, and those of the active plugin set.

A set becomes active while a server runs. Its stages count at once, so clients are told of it at
once; what it has of a server's own parts is there once the server was started anew.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flowdapt_sets import active, paths

from flowdapt.plugins import GROUP, Plugin, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowdapt.server import Server


def plugins(server: Server) -> Sequence[Plugin]:
    """Return all plugins; those of a set that is not active any more are none."""
    folder = server.settings.app_dir / paths.SETS
    plugin_set = active.found(server.settings.app_dir)
    place = folder / plugin_set.id
    loaded = [plugin for plugin in server.plugins.list() if not _is_old(plugin, folder, place)]
    if not plugin_set.wheels:
        return loaded
    known = {plugin.name for plugin in loaded if _place(plugin) == place}
    fresh = [plugin for plugin in _found(place) if plugin.name not in known]
    names = {plugin.name for plugin in fresh}
    return [*(plugin for plugin in loaded if plugin.name not in names), *fresh]


def _place(plugin: Plugin) -> Path | None:
    return None if plugin.entry.dist is None else Path(str(plugin.entry.dist.locate_file("")))


def _is_old(plugin: Plugin, folder: Path, place: Path) -> bool:
    where = _place(plugin)
    return where is not None and where.parent == folder and where != place


def _found(place: Path) -> Iterator[Plugin]:
    """Yield the plugins of a set, all of which were imported when it was prepared."""
    for there in metadata.distributions(path=[str(place)]):
        name, version = there.metadata["Name"], there.version
        for entry in there.entry_points.select(group=GROUP):
            yield Plugin(name, name, version, entry, state=State.HEALTHY)
