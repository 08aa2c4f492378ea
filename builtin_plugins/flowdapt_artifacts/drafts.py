"""Changes of an artifact that are not in force yet."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, Any, cast

from flowdapt_artifacts.errors import written
from flowdapt_artifacts.manifests import Digest, Manifest
from flowdapt_artifacts.places import Place
from flowdapt_artifacts.snapshots import Snapshot


@dataclass(slots=True)
class Draft:
    """What a writer wants to change. It is applied to whatever is in force when it is committed.

    :param name: of the folder with the new files
    :param cleared: nothing of what was there before stays
    :param written: new files and new contents
    :param removed: files to remove
    :param assigned: new metadata
    :param unset: keys of metadata to remove
    :param type: of the value that is saved
    """

    place: Place
    name: str
    cleared: bool = False
    written: dict[str, Digest] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    assigned: dict[str, Any] = field(default_factory=dict)
    unset: set[str] = field(default_factory=set)
    type: str = ""

    @property
    def folder(self) -> str:
        """Where the new files are until the draft is committed."""
        return f"{self.place.drafts}/{self.name}"

    # What a hook or a transaction does

    @contextmanager
    def writing(self, name: str, content: bytes = b"") -> Iterator[IO[bytes]]:
        """Open a new content of a file; it counts if the context ends without an error.

        :param content: what is in it to begin with; the position is the beginning
        """
        path = f"{self.folder}/{name}"
        self.written.pop(name, None)  # if this fails, what was written before is gone, too
        try:
            with written(str(self.place)), self.place.files.writing(path) as stream:
                stream.write(content)
                stream.seek(0)
                yield stream
                stream.seek(0)
                # An IO has no readinto() for the type checker, but those that there are have it.
                found = hashlib.file_digest(cast("Any", stream), "sha256")
                digest = Digest(stream.tell(), found.hexdigest())
        except BaseException:
            self.place.files.remove([path])
            raise
        self.written[name] = digest
        self.removed.discard(name)

    def read(self, name: str) -> bytes:
        """Return what was written to a file."""
        return self.place.files.read(f"{self.folder}/{name}")

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._forget([name])
        self.removed.add(name)

    def clear(self) -> None:
        """Remove all files and all metadata."""
        self.cleared = True
        self._forget([*self.written])
        self.assigned.clear()

    def _forget(self, names: Iterable[str]) -> None:
        forgotten = [name for name in names if self.written.pop(name, None)]
        self.place.files.remove(f"{self.folder}/{name}" for name in forgotten)

    def assign(self, key: str, value: Any) -> None:
        """Set metadata."""
        self.assigned[key] = value
        self.unset.discard(key)

    def unassign(self, key: str) -> None:
        """Remove metadata."""
        self.assigned.pop(key, None)
        self.unset.add(key)

    # What comes of it

    def metadata(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata after the changes."""
        kept = {} if self.cleared else {k: v for k, v in before.items() if k not in self.unset}
        return kept | self.assigned

    def has(self, name: str, before: Snapshot) -> bool:
        """Tell whether there is a file after the changes."""
        kept = not self.cleared and name not in self.removed
        return name in self.written or (kept and before.has(name))

    def names(self, before: Snapshot) -> list[str]:
        """Return the names of the files after the changes, in order."""
        kept = set() if self.cleared else {*before.names()} - self.removed
        return sorted(kept | {*self.written})

    def applied(
        self, before: Manifest, there: list[str], *, new: bool, keep: int | None
    ) -> Manifest:
        """Return what is in force once the draft is committed.

        :param there: the files of the version before; those that we wrote will do, where nothing
            is cleared
        :param new: it is a version of its own, else that before is changed
        :param keep: how many versions before this one stay readable; None is as many as before
        """
        kept = {
            name: digest
            for name, digest in before.files.items()
            if not self.cleared and name not in self.removed
        }
        stays = {*self.written} if self.cleared else {*there, *self.written} - self.removed
        return replace(
            before,
            metadata=self.metadata(before.metadata),
            files=kept | self.written,
            version=before.version + (0 if before.guess or (before.version and not new) else 1),
            keep=before.keep if keep is None else keep,
            saved=time.time() if new or not before.saved else before.saved,
            type=self.type or ("" if self.cleared else before.type),
            draft=self.name if self.written else "",
            gone=tuple(sorted({*there, *self.removed} - stays)),
            guess=False,
        )
