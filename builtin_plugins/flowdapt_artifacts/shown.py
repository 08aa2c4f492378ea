"""What others are told of artifacts, and which files a server hands on and takes.

Everything here may wait for a disk or a network, so call it in a thread. No file is ever unpickled.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.errors import InvalidResource, ResourceNotFound
from flowdapt_artifacts import snapshots
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.file import ArtifactFile
from flowdapt_artifacts.places import Place, Root

KIND, FILE = "artifact", "artifact file"


class FileFacts(TypedDict):
    """A file of an artifact; ``size`` in bytes."""

    name: str
    size: int


class ArtifactFacts(TypedDict):
    """What is known of one version of an artifact.

    :ivar uri: the folder with its files
    :ivar type: of the value, where it was saved as one
    :ivar size: bytes
    :ivar saved: seconds since 1970; 0 where it is not known
    :ivar version: 0 of what an earlier release wrote
    :ivar versions: the numbers of those that can be read, the newest last
    """

    namespace: str
    name: str
    uri: str
    type: str
    size: int
    saved: float
    version: int
    versions: list[int]
    metadata: dict[str, Any]
    files: list[FileFacts]


class Shown:
    """The artifacts of one storage, as they are shown to others."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def facts(self, namespace: str, name: str, version: int | None = None) -> ArtifactFacts:
        """Return what is known of an artifact.

        :param version: absent, the newest
        :raises ResourceNotFound: there is no such artifact, or no such version
        """
        place = self._place(namespace, name)
        try:
            found = _snapshot(place, version)
            versions = snapshots.versions(place)
        except FileNotFoundError:
            raise ResourceNotFound(KIND, _title(namespace, name, version)) from None
        manifest, there = found.manifest, place.files.files(found.folder)
        files: list[FileFacts] = []
        for file in found.names():
            known = manifest.files.get(file) or there.get(file)
            files.append({"name": file, "size": known.size if known else 0})
        return {
            "namespace": namespace,
            "name": name,
            "uri": f"{place.files.protocol}://{found.folder}",
            "type": manifest.type,
            "size": sum(file["size"] for file in files),
            "saved": manifest.saved,
            "version": manifest.version,
            "versions": versions,
            "metadata": dict(manifest.metadata),
            "files": files,
        }

    def read(self, namespace: str, name: str, file: str, version: int | None = None) -> bytes:
        """Return what is in a file, which is what was written.

        :raises ResourceNotFound: there is none
        :raises ArtifactCorrupt: it is something else
        """
        place = self._place(namespace, name)
        try:
            snapshot = _snapshot(place, version) if version is not None else None
            return Artifact(place, snapshot=snapshot).content(file)
        except FileNotFoundError:
            title = f"{_title(namespace, name, version)}/{file}"
            raise ResourceNotFound(FILE, title) from None

    def write(self, namespace: str, name: str, file: str, content: bytes) -> ArtifactFacts:
        """Make a version with this content of a file, and return what is known of it then.

        The artifact is made where there is none.

        :raises InvalidResource: one of the names is none
        """
        try:
            place = self._root.place(namespace, name)
            with Artifact(place).transaction(create=True) as artifact:
                ArtifactFile(file, artifact).write(content)
        except ValueError as error:
            raise InvalidResource.at("path", (), str(error)) from None
        return self.facts(namespace, name)

    def delete(self, namespace: str, name: str) -> None:
        """Remove an artifact with all its versions, also one that is corrupt.

        :raises ResourceNotFound: there is none
        """
        try:
            Artifact(self._place(namespace, name)).delete()
        except FileNotFoundError:
            raise ResourceNotFound(KIND, f"{namespace}/{name}") from None

    def _place(self, namespace: str, name: str) -> Place:
        try:
            return self._root.place(namespace, name)
        except ValueError:  # it is no name, and so of nothing
            raise ResourceNotFound(KIND, f"{namespace}/{name}") from None


def _snapshot(place: Place, version: int | None) -> snapshots.Snapshot:
    return snapshots.newest(place) if version is None else snapshots.of_version(place, version)


def _title(namespace: str, name: str, version: int | None) -> str:
    return f"{namespace}/{name}" + ("" if version is None else f" version {version}")
