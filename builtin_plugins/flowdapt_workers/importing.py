"""Has a process import the code that a run began with: user modules, and a set of plugins."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import linecache
import os
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from flowdapt_sets import paths as set_paths


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a snapshot, under the path where its source was."""

    def __init__(self, fullname: str, path: str, source: bytes) -> None:
        super().__init__(fullname, path)
        self.source = source

    def get_data(self, path: str) -> bytes:
        return self.source if path == self.path else super().get_data(path)

    def path_stats(self, path: str) -> Mapping[str, float]:
        raise OSError(f"{path} comes from a snapshot, which has no bytecode cache")

    def exec_module(self, module: ModuleType) -> None:
        # So that tracebacks show the lines that ran, whatever stands in the file by then.
        lines = importlib.util.decode_source(self.source).splitlines(keepends=True)
        linecache.cache[self.path] = (len(self.source), None, lines, self.path)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self, paths: Sequence[str], sources: Mapping[str, bytes]) -> None:
        self.paths, self.sources = paths, sources

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del target
        tail = fullname.rpartition(".")[2]
        for folder in self.paths if path is None else path:
            for origin, inside in (
                (os.path.join(folder, tail, "__init__.py"), [os.path.join(folder, tail)]),
                (os.path.join(folder, f"{tail}.py"), None),
            ):
                if (source := self.sources.get(origin)) is not None:
                    loader = _Loader(fullname, origin, source)
                    return importlib.util.spec_from_file_location(
                        fullname, origin, loader=loader, submodule_search_locations=inside
                    )
        return None


class _Folders(_Finder):
    """Finds packages without an ``__init__.py`` whose folder is gone; asked after all others."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del target
        places = self.paths if path is None else path
        folders = [os.path.join(f, fullname.rpartition(".")[2]) for f in places]
        found = [f for f in folders if any(s.startswith(f + os.sep) for s in self.sources)]
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = found
        return spec if found else None


def activate(
    paths: Sequence[str],
    sources: Mapping[str, bytes],
    plugins: str = "",
    *,
    sets: Path | None = None,
) -> None:
    """Have this process import user modules from a snapshot from now on.

    Those that were imported before are forgotten, so that they are imported anew.

    :param plugins: the set of plugins that goes with them
    :param sets: the folder of this node in which sets are prepared
    :raises SetMissing: this one is not
    """
    forgotten = set_paths.activate(plugins, sets)
    folders: set[str] = set()
    for old in [finder for finder in sys.meta_path if isinstance(finder, _Finder)]:
        sys.meta_path.remove(old)
        folders |= _folders(old.sources)
    folders |= _folders(sources)
    for name, module in list(sys.modules.items()):
        facts = getattr(module, "__dict__", {})
        file = facts.get("__file__")
        ours = isinstance(facts.get("__loader__"), _Loader) or file in sources
        if file is None:  # a package without an __init__.py
            ours = any(folder in folders for folder in facts.get("__path__") or ())
        elif forgotten:
            ours = ours or file.startswith(forgotten)
        if ours and name != "__main__":
            del sys.modules[name]
    sys.meta_path[:] = [_Finder(paths, sources), *sys.meta_path, _Folders(paths, sources)]
    sys.path[:] = [*paths, *(entry for entry in sys.path if entry not in paths)]
    importlib.invalidate_caches()


def _folders(sources: Iterable[str]) -> set[str]:
    """Return the folders that the files are in, and those that these are in."""
    found: set[str] = set()
    for source in sources:
        folder = os.path.dirname(source)
        while folder not in found:
            found.add(folder)
            folder = os.path.dirname(folder)
    return found


def activate_file(file: str | os.PathLike[str], *, sets: Path | None = None) -> None:
    """Do what :func:`activate` does, from a snapshot that the server kept."""
    with open(file, "rb") as stream:
        activate(*pickle.load(stream), sets=sets)  # noqa: S301 - written by the server, private to the user
