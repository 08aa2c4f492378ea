"""Which set is active, beside the storage: for programs that start before there is a storage."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from flowdapt_sets import paths
from flowdapt_sets.sets import PluginSet

FILE = Path("plugins", "active.json")  #: below the application directory


def note(app_dir: Path, plugin_set: PluginSet) -> None:
    """Note which set is active; an empty one for none."""
    place = app_dir / FILE
    if not plugin_set.wheels:
        place.unlink(missing_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = place.with_name(f".active.{os.getpid()}")
    part.write_text(plugin_set.to_json())
    part.replace(place)


def found(app_dir: Path) -> PluginSet:
    """Return the set that was noted; an empty one where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return PluginSet.from_json((app_dir / FILE).read_text())
    return PluginSet()


def use(app_dir: Path) -> bool:
    """Have this process import from the active set; tell whether that changes anything.

    Whoever looks for plugins afterwards finds those of the set, too.
    """
    plugin_set, folder = found(app_dir), app_dir / paths.SETS
    place = str(folder / plugin_set.id)
    if not plugin_set.wheels or not paths.is_ready(plugin_set.id, folder) or place in sys.path:
        return False
    sys.path.insert(0, place)
    return True
