"""The data files that a plugin brings beside its code, found through its distribution."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import Distribution

    from flowdapt.plugins import Plugin

MANIFEST = "MANIFEST.in"
FOLDERS = {"__pycache__", ".git", ".github", ".pytest_cache", "tests", "docs"}  #: not looked into
ENDINGS = (".py", ".pyc", ".egg-info", ".dist-info")  #: of files and folders that are no data


def data_files(plugin: Plugin) -> dict[str, Path]:
    """Return where each data file lies, by its base name; of two with one name, the upper one."""
    distribution = plugin.entry.dist
    if distribution is None:
        return {}
    root = _checkout(distribution)
    found = _recorded(distribution) if root is None else _checked_out(root, plugin)
    if plugin.built_in:  # one distribution with all of them
        found = ((path, file) for path, file in found if plugin.entry.module in path.parts)
    files: dict[str, Path] = {}
    for path, file in sorted(found, key=lambda pair: (len(pair[0].parts), pair[0])):
        if is_data(path) and file.is_file():
            files.setdefault(path.name, file)
    return dict(sorted(files.items()))


def is_data(path: PurePosixPath) -> bool:
    """Tell by its path whether a file is data.

    :param path: from where packages are installed; what is above that says nothing
    """
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and not any(part in FOLDERS or part.endswith(ENDINGS) for part in path.parts)


def _recorded(distribution: Distribution) -> Iterator[tuple[PurePosixPath, Path]]:
    for file in distribution.files or ():
        yield PurePosixPath(file), Path(str(distribution.locate_file(file)))


# Installed as a link to where the plugin is written ------------------------------------------


def _checkout(distribution: Distribution) -> Path | None:
    """Return the folder that an editable installation points to."""
    try:
        about = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable = about.get("dir_info", {}).get("editable", False)
        return Path(unquote(urlsplit(about["url"]).path)) if editable else None
    except (ValueError, KeyError, AttributeError):  # not as installers write it
        return None


def _checked_out(root: Path, plugin: Plugin) -> Iterator[tuple[PurePosixPath, Path]]:
    manifest = root / MANIFEST
    if manifest.is_file():
        files = [*_below(root)]
        for path in chosen(manifest.read_text(errors="replace").splitlines(), files):
            yield path, root / path
        return
    # Without one, what a package holds is what most build tools would put into a wheel.
    spec = find_spec(plugin.entry.module.partition(".")[0])
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in _below(Path(folder)):
            yield PurePosixPath(Path(folder).name) / path, Path(folder) / path


def _below(root: Path) -> Iterator[PurePosixPath]:
    for folder, folders, files in os.walk(root):
        # Hidden ones hold environments and caches, which may be huge.
        folders[:] = [name for name in folders if name not in FOLDERS and name[0] != "."]
        for name in files:
            yield PurePosixPath((Path(folder) / name).relative_to(root))


def chosen(lines: Iterable[str], files: list[PurePosixPath]) -> list[PurePosixPath]:
    """Return the files that the lines of a ``MANIFEST.in`` choose, a later line over an earlier."""
    found: dict[PurePosixPath, None] = {}
    for line in lines:
        command, *words = line.partition("#")[0].split() or [""]
        action = command.rpartition("-")[2]
        for path in files:
            if action in ("include", "exclude") and _fits(path, command, words):
                found.pop(path, None)
                if action == "include":
                    found[path] = None
    return [*found]


def _fits(path: PurePosixPath, command: str, words: list[str]) -> bool:
    if command.startswith("global-"):
        return any(path.match(pattern) for pattern in words)
    if command.startswith("recursive-"):
        folder = PurePosixPath(words[0]).parts if words else ()
        below = path.parts[: len(folder)] == folder
        return below and any(path.match(pattern) for pattern in words[1:])
    # Each part by itself: a star stands for no slash.
    parts = [PurePosixPath(pattern).parts for pattern in words]
    return any(
        len(pattern) == len(path.parts)
        and all(fnmatchcase(part, wanted) for part, wanted in zip(path.parts, pattern, strict=True))
        for pattern in parts
    )
