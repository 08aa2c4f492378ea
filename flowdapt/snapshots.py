"""The source of user modules, as a run began with it.

A run keeps the code it began with, and an edit counts for the next run. So the source below the
roots is known by its content and kept aside, and workers import it from there, under its own paths.
Bytecode caches are left out: they know a source by its second and size, and miss quick edits.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import linecache
import os
import pickle
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from flowdapt.errors import StorageError

RACY_NS = 50_000_000  #: a file changed this recently may change again within one clock tick

_SKIPPED = {"__pycache__", "node_modules", "site-packages"}

Stamp = tuple[str, int, int, int, int]  # path, size, mtime_ns, ctime_ns, inode


@dataclass(frozen=True, slots=True)
class Root:
    """A folder on the import path of stages.

    :param path: the folder that goes on the import path
    :param watched: the part of it that holds user modules; by default all of it
    """

    path: Path
    watched: Path | None = None


class Snapshots:
    """Takes snapshots of user modules and keeps them under the names of their contents.

    :param roots: where user modules are
    :param folder: where snapshots are kept for workers; made when it is first needed
    """

    def __init__(self, roots: Sequence[Root] = (), folder: Path | None = None) -> None:
        self.roots, self.folder = tuple(roots), folder
        self._stamps: list[Stamp] | None = None
        self.newest = ""  #: the name that was given last

    @property
    def paths(self) -> list[str]:
        """The folders that go on the import path."""
        return [str(root.path) for root in self.roots]

    def take(self) -> str:
        """Return the name of the source as it is now; the same source has the same name.

        Reads files only where something about them changed. Without user modules the name is
        empty.
        """
        if not self.roots:
            return ""
        begun = time.time_ns()
        stamps = self._scanned()
        if stamps != self._stamps:
            self.newest = self._keep({stamp[0]: _read(stamp[0]) for stamp in stamps})
            newest = max((max(stamp[2], stamp[3]) for stamp in stamps), default=0)
            self._stamps = stamps if begun - newest > RACY_NS else None
        return self.newest

    def sources(self) -> dict[str, bytes]:
        """Return the source as it is now, by its path."""
        return {stamp[0]: _read(stamp[0]) for stamp in self._scanned()}

    def _scanned(self) -> list[Stamp]:
        return sorted(stamp for root in self.roots for stamp in _scan(root.watched or root.path))

    def _keep(self, sources: Mapping[str, bytes]) -> str:
        digest = sha256()
        for path, source in sources.items():
            digest.update(os.fsencode(path) + f"\0{len(source)}\0".encode() + source)
        name = digest.hexdigest()[:16]
        if self.folder is not None and not (self.folder / name).exists():
            part = self.folder / f".{name}.{os.getpid()}"
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.write_bytes(pickle.dumps((self.paths, dict(sources))))
                part.replace(self.folder / name)
            except OSError as error:  # such as a full disk
                raise StorageError(
                    f"user modules cannot be kept in {self.folder}: {error}"
                ) from None
        return name

    def file(self, name: str) -> Path | None:
        """Return the file that :func:`activate` takes, for a name that :meth:`take` gave."""
        return self.folder / name if self.folder is not None and name else None


def _scan(folder: Path | str, above: tuple[str, ...] = ()) -> Iterator[Stamp]:
    """Yield what tells whether source files changed, without reading them.

    :param above: the real paths of the folders that this one is in, as links may lead back there
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:  # removed while we look, or not there yet
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_dir():
            if (real := os.path.realpath(entry.path)) not in above:
                yield from _scan(entry.path, (*above, real))
        elif entry.name.endswith(".py"):
            try:
                stat = entry.stat()
            except OSError:  # removed while we look
                continue
            yield entry.path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # removed while we look: then it has nothing in it
        return b""


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


def activate(paths: Sequence[str], sources: Mapping[str, bytes]) -> None:
    """Have this process import user modules from a snapshot from now on.

    Those that were imported before are forgotten, so that they are imported anew.
    """
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


def activate_file(file: str | os.PathLike[str]) -> None:
    """Do what :func:`activate` does, from a snapshot that :class:`Snapshots` kept."""
    with open(file, "rb") as stream:
        activate(*pickle.load(stream))  # noqa: S301 - written by the server, private to the user
