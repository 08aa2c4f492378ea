"""The code that a run begins with, known by its content: user modules, and a set of plugins.

A run keeps the code it began with, and an edit counts for the next run. So the source below the
roots is known by its content and kept aside, and workers import it from there, under its own paths.
Bytecode caches are left out: they know a source by its second and size, and miss quick edits.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

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


class Plugins(NamedTuple):
    """Which plugins runs begin with.

    :param id: names them
    :param text: describes them to whoever prepares them where stages are computed
    """

    id: str = ""
    text: str = ""


class Snapshots:
    """Takes snapshots of user modules and keeps them under the names of their contents.

    :param roots: where user modules are
    :param folder: where snapshots are kept for workers; made when it is first needed
    :ivar sets: which plugins go with them, by namespace; what stands under the empty text is for
        all other namespaces
    """

    def __init__(self, roots: Sequence[Root] = (), folder: Path | None = None) -> None:
        self.roots, self.folder = tuple(roots), folder
        self.sets: dict[str, Plugins] = {}
        self._stamps: list[Stamp] | None = None
        self._names: dict[Plugins, str] = {}  # of the source as it was found last

    @property
    def paths(self) -> list[str]:
        """The folders that go on the import path."""
        return [str(root.path) for root in self.roots]

    def plugins(self, namespace: str = "") -> Plugins:
        """Return which plugins a run in a namespace begins with."""
        return self.sets.get(namespace) or self.sets.get("", Plugins())

    @property
    def current(self) -> set[str]:
        """The names of the source as it was found last, with plugins that runs still begin with."""
        wanted = {*self.sets.values(), self.plugins()}
        return {name for plugins, name in self._names.items() if plugins in wanted}

    def take(self, namespace: str = "") -> str:
        """Return the name of the code as it is now; the same code has the same name.

        Reads files only where something about them changed. Without user modules and plugins the
        name is empty.
        """
        plugins = self.plugins(namespace)
        if not self.roots and not plugins.id:
            return ""
        begun = time.time_ns()
        stamps = self._scanned()
        if stamps != self._stamps:
            self._names.clear()
        if plugins not in self._names:
            sources = {stamp[0]: _read(stamp[0]) for stamp in stamps}
            self._names[plugins] = self._keep(sources, plugins.text)
            newest = max((max(stamp[2], stamp[3]) for stamp in stamps), default=0)
            self._stamps = stamps if begun - newest > RACY_NS else None
        return self._names[plugins]

    def sources(self) -> dict[str, bytes]:
        """Return the source as it is now, by its path."""
        return {stamp[0]: _read(stamp[0]) for stamp in self._scanned()}

    def _scanned(self) -> list[Stamp]:
        return sorted(stamp for root in self.roots for stamp in _scan(root.watched or root.path))

    def _keep(self, sources: Mapping[str, bytes], plugins: str) -> str:
        digest = sha256(plugins.encode())
        for path, source in sources.items():
            digest.update(os.fsencode(path) + f"\0{len(source)}\0".encode() + source)
        name = digest.hexdigest()[:16]
        if self.folder is not None and not (self.folder / name).exists():
            part = self.folder / f".{name}.{os.getpid()}"
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.write_bytes(pickle.dumps((self.paths, dict(sources), plugins)))
                part.replace(self.folder / name)
            except OSError as error:  # such as a full disk
                raise StorageError(
                    f"user modules cannot be kept in {self.folder}: {error}"
                ) from None
        return name

    def clean(self, wanted: Collection[str]) -> None:
        """Remove the source that no run has: all but what is named, and what was just taken."""
        if self.folder is not None and self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in {*wanted, *self._names.values()}:
                    path.unlink(missing_ok=True)

    def file(self, name: str) -> Path | None:
        """Return the file for a name that :meth:`take` gave: paths, sources, plugins, pickled."""
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
