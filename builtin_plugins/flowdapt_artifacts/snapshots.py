"""One version of an artifact, as it is read while others write."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from flowdapt_artifacts import manifests, places
from flowdapt_artifacts.errors import ArtifactChanged, ArtifactCorrupt
from flowdapt_artifacts.manifests import Manifest
from flowdapt_artifacts.places import Place, Root

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was in force at one moment.

    :param folder: where its files are; some may still be in the draft they were written in
    """

    place: Place
    manifest: Manifest
    folder: str

    def names(self) -> list[str]:
        """Return the names of the files in order, also of those that others put there."""
        listed = self.place.files.files(self.folder)
        there = {name for name in listed if not name.startswith(".")} - {*self.manifest.gone}
        return sorted({*self.manifest.files, *there})

    def known(self) -> list[str]:
        """Return the names of those that we wrote."""
        return sorted(self.manifest.files)

    def has(self, name: str) -> bool:
        """Tell whether it has a file."""
        return name in self.manifest.files or name in (manifests.FILE, *self.names())

    def read(self, name: str) -> bytes:
        """Return what is in a file, if it is what was written.

        :raises FileNotFoundError: there is no such file
        :raises ArtifactCorrupt: it is not what was written
        :raises ArtifactChanged: another version has taken its place meanwhile
        """
        digest = self.manifest.files.get(name)
        if digest is None:
            return self._foreign(name)
        fault = ""
        for _ in range(2):  # it may have been moved from the draft to the folder between two looks
            fault = "is missing"
            for path in self._paths(name):
                with suppress(FileNotFoundError, NotADirectoryError):
                    data, fault = self.place.files.checked(path, digest)
                    if not fault:
                        return data
            if not self._in_force():
                raise ArtifactChanged(str(self.place))
        raise ArtifactCorrupt(str(self.place), name, fault)

    def _foreign(self, name: str) -> bytes:
        with suppress(FileNotFoundError, NotADirectoryError):
            if name not in self.manifest.gone:
                return self.place.files.read(f"{self.folder}/{name}")
        if not self._in_force():
            raise ArtifactChanged(str(self.place))
        raise FileNotFoundError(f"artifact {self.place} has no file {name!r}")

    def _paths(self, name: str) -> Iterator[str]:
        yield f"{self.folder}/{name}"
        if self.manifest.draft and self.folder == self.place.folder:
            yield f"{self.place.drafts}/{self.manifest.draft}/{name}"

    def _in_force(self) -> bool:
        if self.folder == self.place.folder:
            return places.read(self.place) == self.manifest
        return f"{self.manifest.version}" in self.place.files.folders(self.place.versions)


def newest(place: Place) -> Snapshot:
    """Return what is in force.

    :raises FileNotFoundError: there is no such artifact
    """
    manifest = places.read(place)
    if manifest is None:
        raise FileNotFoundError(f"no artifact {place}")
    return Snapshot(place, manifest, place.folder)


def of_version(place: Place, version: int) -> Snapshot:
    """Return a version by its number.

    :raises FileNotFoundError: it was never there, or is not kept
    """
    current = places.read_or_guess(place)
    if current is None or version == current.version:
        return newest(place)
    folder = f"{place.versions}/{version}"
    if current.keeps(version):
        with suppress(FileNotFoundError, NotADirectoryError):
            found = places.parsed(place, place.files.read(f"{folder}/{manifests.FILE}"))
            return Snapshot(place, found, folder)
    there = ", ".join(map(str, versions(place)))
    raise FileNotFoundError(f"no version {version} of artifact {place}; there are {there}")


def versions(place: Place) -> list[int]:
    """Return the numbers of the versions that can be read, the newest last.

    :raises FileNotFoundError: there is no such artifact
    """
    current = places.read_or_guess(place) or newest(place).manifest
    if not current.keep:
        return [current.version]
    there = {int(name) for name in place.files.folders(place.versions) if name.isdecimal()}
    return [*sorted(filter(current.keeps, there)), current.version]


def all_of(root: Root, namespace: str) -> Iterator[tuple[Place, Manifest]]:
    """Yield the artifacts of a namespace in the order of their names, none if there is no such one.

    What cannot be made out is there, and what is known of it is nothing.
    """
    found = root.places(namespace)
    texts = root.files.read_all(place.manifest for place in found)
    for place in found:
        try:
            text = texts.get(place.manifest)
            manifest = places.read(place) if text is None else places.parsed(place, text)
        except ArtifactCorrupt as error:
            logger.warning("%s", error)
            manifest = Manifest()
        if manifest is not None and not manifest.deleted:
            yield place, manifest
