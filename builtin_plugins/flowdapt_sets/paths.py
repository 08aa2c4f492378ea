"""Where sets are on a node, and how a process comes to import from one."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from flowdapt_sets.errors import SetMissing, SetUnusable
from flowdapt_sets.sets import PluginSet, Wheel

VARIABLE = "FLOWDAPT_SETS_DIR"  #: names the folder of a node that is no server
MARK = "flowdapt-set.json"  #: in the folder of each set that is whole: what it is

#: Below the application directory of a server.
SETS = Path("plugins", "sets")
WHEELS = Path("plugins", "wheels")


def node_folder() -> Path:
    """Return the folder for sets on a node of a cluster: the variable's, or one in a cache.

    It is the same for all processes of a user on a machine, which does no harm: what a set is
    called says what is in it.
    """
    if given := os.environ.get(VARIABLE):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if not os.access(_existing(cache), os.W_OK):  # such as in a container without a home
        cache = _own(Path(tempfile.gettempdir(), f"flowdapt-{os.getuid()}"))
    return cache / "flowdapt" / "sets"


def _own(folder: Path) -> Path:
    """Make a folder where everybody can, or see that it is ours: code is imported from it.

    :raises SetUnusable: somebody else made it
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o022 or folder.is_symlink():
        raise SetUnusable(f"{folder} is not only yours: set {VARIABLE} to a folder that is")
    return folder


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)


def wheel_file(folder: Path, wheel: Wheel) -> Path:
    """Return where a wheel is in a folder of wheels: under its hash, so that names do no harm."""
    return folder / wheel.sha256 / wheel.file


def is_ready(id: str, folder: Path) -> bool:  # noqa: A002 - what sets have
    """Tell whether a set was prepared."""
    return (folder / id / MARK).exists()


def is_set(entry: str) -> bool:
    """Tell whether an entry of an import path is the folder of a set."""
    return os.path.exists(os.path.join(entry, MARK))


def activate(plugins: str, folder: Path | None) -> str:
    """Have this process import from a set, and from no other, behind nothing that is there already.

    :param plugins: the set as text; empty for none
    :param folder: where sets are prepared; by default, where nodes have them
    :return: the folder of a set that modules were imported from before; empty where there is none
    :raises SetMissing: it was not
    """
    before = [entry for entry in sys.path if is_set(entry)]
    wanted = ""
    if plugins:
        found = PluginSet.from_json(plugins)
        folder = node_folder() if folder is None else folder
        if not is_ready(found.id, folder):
            raise SetMissing(found.id)
        wanted = str(folder / found.id)
    if before == ([wanted] if wanted else []):
        return ""
    sys.path[:] = [*([wanted] if wanted else []), *(e for e in sys.path if e not in before)]
    return os.path.join(before[0], "") if before else ""
