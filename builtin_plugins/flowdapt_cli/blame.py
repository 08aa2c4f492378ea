"""Finds out whose code it was that kept a server from starting."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from flowdapt.plugins import State

if TYPE_CHECKING:
    from flowdapt.plugins import Plugin, Plugins


def culprit(error: BaseException, plugins: Plugins) -> Plugin | None:
    """Return the plugin in whose code something was raised, unless it comes with flowdapt.

    Of several, the one that stands innermost.
    """
    strangers = {
        plugin.entry.module.partition(".")[0]: plugin
        for plugin in plugins.list()
        if plugin.state is State.HEALTHY and not plugin.built_in
    }
    for note in getattr(error, "__notes__", ()):
        for plugin in strangers.values():
            if note in plugin.provides:
                return plugin
    seen: BaseException | None = error
    while seen is not None:
        for frame, _ in reversed([*traceback.walk_tb(seen.__traceback__)]):
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package in strangers:
                return strangers[package]
        seen = seen.__cause__ or seen.__context__
    return None
