"""Where an artifact is, and what belongs to it there.

An artifact is the folder ``artifacts/NAMESPACE/NAME``, which has no more in it than earlier
releases expect. What is only ours is beside the namespaces, in ``artifacts/.flowdapt``: drafts,
which are files that are not in force yet, earlier versions, and locks.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowdapt_artifacts import manifests
from flowdapt_artifacts.configured import placed
from flowdapt_artifacts.errors import ArtifactCorrupt
from flowdapt_artifacts.files import Files
from flowdapt_artifacts.local import LocalFiles
from flowdapt_artifacts.manifests import Manifest
from flowdapt_artifacts.names import checked, is_name

LOCAL = ("file", "local")


@dataclass(frozen=True, slots=True)
class Root:
    """Where all artifacts of one storage are.

    :param path: the folder ``artifacts``
    """

    files: Files
    path: str

    @classmethod
    def at(cls, protocol: str, base_path: str, parameters: Mapping[str, Any]) -> Root:
        """Return the place in a file system; nothing is read or made there.

        :param base_path: the folder that ``artifacts`` is in; for files by default as configured
        :param parameters: of the file system
        """
        if protocol in LOCAL and not base_path:
            base_path = placed()[0].base_path  # and not the root of the disk
        base = base_path.removeprefix(f"{protocol}://").rstrip("/")
        if protocol in LOCAL:
            return cls(LocalFiles(), os.path.abspath(os.path.expanduser(f"{base}/artifacts")))
        from flowdapt_artifacts.remote import RemoteFiles  # imports fsspec, for who needs it

        return cls(RemoteFiles(protocol, parameters), f"{base}/artifacts")

    @property
    def hidden(self) -> str:
        """The folder of what is only ours."""
        return f"{self.path}/.flowdapt"

    def namespaces(self) -> list[str]:
        """Return the namespaces that have a folder, in order."""
        return sorted(filter(is_name, self.files.folders(self.path)))

    def places(self, namespace: str) -> list[Place]:
        """Return the folders in a namespace that can be artifacts, in order of their names."""
        found = self.files.folders(f"{self.path}/{checked(namespace, 'a namespace')}")
        return [Place(self, namespace, name) for name in sorted(filter(is_name, found))]

    def place(self, namespace: str, name: str) -> Place:
        """Return where an artifact is or would be.

        :raises ValueError: one of the two is no name
        """
        return Place(self, checked(namespace, "a namespace"), checked(name))


@dataclass(frozen=True, slots=True)
class Place:
    """Where one artifact is, or would be."""

    root: Root
    namespace: str
    name: str

    @property
    def files(self) -> Files:
        """The file system."""
        return self.root.files

    @property
    def folder(self) -> str:
        """Where the files of the newest version are."""
        return f"{self.root.path}/{self.namespace}/{self.name}"

    @property
    def manifest(self) -> str:
        """The file that says what is in force."""
        return f"{self.folder}/{manifests.FILE}"

    @property
    def versions(self) -> str:
        """The folder of earlier versions, each a folder named by its number."""
        return f"{self.root.hidden}/{self.namespace}/versions/{self.name}"

    @property
    def drafts(self) -> str:
        """The folder of the drafts of all artifacts of the namespace."""
        return f"{self.root.hidden}/{self.namespace}/drafts"

    @property
    def lock(self) -> str:
        """What a writer has while it puts a draft in force."""
        return f"{self.root.hidden}/{self.namespace}/locks/{self.name}"

    def new_draft(self) -> str:
        """Return the name of a draft that nobody else has."""
        return f"{self.name}.{uuid.uuid4().hex}"

    def __str__(self) -> str:
        return f"{self.name!r} in {self.files.protocol}://{self.folder}"


def read(place: Place) -> Manifest | None:
    """Return what is in force; nothing if there is no artifact.

    :raises ArtifactCorrupt: it cannot be made out
    """
    try:
        data = place.files.read(place.manifest)
    except (FileNotFoundError, NotADirectoryError):
        return Manifest() if place.files.files(place.folder) else None  # files without metadata
    found = parsed(place, data)
    return None if found.deleted else found


def read_or_guess(place: Place) -> Manifest | None:
    """Return the same or, where the manifest is corrupt, what can be said without it."""
    try:
        return read(place)
    except ArtifactCorrupt:
        kept = [int(name) for name in place.files.folders(place.versions) if name.isdecimal()]
        return Manifest(version=max(kept, default=0) + 1, keep=len(kept), guess=True)


def parsed(place: Place, data: bytes) -> Manifest:
    """Return the manifest that a file holds.

    :raises ArtifactCorrupt: it holds none
    """
    try:
        return Manifest.from_bytes(data)
    except ValueError as error:
        raise ArtifactCorrupt(str(place), manifests.FILE, str(error)) from None
