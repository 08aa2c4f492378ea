"""Commands of plugins that the installer brought: they are there before any option is read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowdapt.plugins import Plugins

NOTE = Path("plugins", "active.json")  #: that there is a plugin set, in the application directory


def with_installed(plugins: Plugins) -> Plugins:
    """Return the plugins with those of the active set, if there is one.

    :param plugins: as they were loaded without it
    """
    app_dir = _app_dir(sys.argv[1:])
    if "--safe-mode" in sys.argv or not (app_dir / NOTE).exists():
        return plugins
    from flowdapt_sets import active

    from flowdapt.plugins import Plugins, State

    if not active.use(app_dir):
        return plugins
    out = [plugin.name for plugin in plugins.list() if plugin.state is State.DISABLED]
    return Plugins.load(disabled=out, cache_dir=app_dir / "cache")


def _app_dir(words: list[str]) -> Path:
    """Return the application directory that is given before the command, or the usual one."""
    found = os.environ.get("FLOWDAPT__APP_DIR") or os.path.expanduser("~/.flowdapt")
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("-d", "--app-dir"):
            found = following
        elif word.startswith("--app-dir="):
            found = word.partition("=")[2]
    return Path(found).expanduser()
