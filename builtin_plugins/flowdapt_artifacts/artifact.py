"""Artifacts: files and metadata under a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import orjson

from flowdapt_artifacts import commits, manifests, places, snapshots
from flowdapt_artifacts.drafts import Draft
from flowdapt_artifacts.errors import ArtifactChanged
from flowdapt_artifacts.file import ArtifactFile
from flowdapt_artifacts.manifests import Manifest
from flowdapt_artifacts.names import checked_file
from flowdapt_artifacts.places import Place, Root
from flowdapt_artifacts.snapshots import Snapshot

TRIES = 100  #: of reading what others replace meanwhile

_T = TypeVar("_T")


class Artifact:
    """Files and metadata under a name.

    What others write is seen at once, and each file whole; in a :meth:`transaction` many changes
    become one. Made by the class methods, or by the functions of ``flowdapt.artifacts``.

    :param snapshot: what to show, whatever is in force, until it is changed
    """

    def __init__(self, place: Place, *, snapshot: Snapshot | None = None) -> None:
        self._place, self._snapshot = place, snapshot
        self._draft: Draft | None = None
        self._before: Snapshot | None = None  # what the draft was begun with

    # Finding and making

    @classmethod
    def new_artifact(
        cls,
        name: str,
        namespace: str = "",
        protocol: str = "file",
        base_path: str = "",
        **params: Any,
    ) -> Artifact:
        """Make an artifact without files.

        :param namespace: ``default`` if empty
        :param protocol: of fsspec, such as ``file``, ``s3`` or ``memory``
        :param base_path: the folder that ``artifacts`` is in; for ``file`` as the settings say
        :param params: for the file system
        :raises FileExistsError: there is one of that name
        :raises ValueError: a name is none
        """
        artifact = cls(_place(name, namespace, protocol, base_path, params))
        with commits.drafted(artifact._place) as draft:
            commits.commit(draft, create=True, exclusive=True)
        return artifact

    @classmethod
    def get_artifact(
        cls,
        name: str,
        namespace: str = "",
        protocol: str = "file",
        base_path: str = "",
        *,
        create: bool = False,
        **params: Any,
    ) -> Artifact:
        """Return an artifact, see :meth:`new_artifact`.

        :param create: make it if it is not there
        :raises FileNotFoundError: it is not there
        """
        artifact = cls(_place(name, namespace, protocol, base_path, params))
        if create and not artifact.exists:
            with commits.drafted(artifact._place) as draft:
                commits.commit(draft, create=True)
        artifact._seen()
        return artifact

    @classmethod
    def list_artifacts(
        cls, namespace: str = "", protocol: str = "file", base_path: str = "", **params: Any
    ) -> list[Artifact]:
        """Return the artifacts of a namespace in the order of their names."""
        root = Root.at(protocol, base_path, params)
        return [cls(place) for place, _ in snapshots.all_of(root, namespace or "default")]

    @classmethod
    def does_exist(
        cls,
        name: str,
        namespace: str = "",
        protocol: str = "file",
        base_path: str = "",
        **params: Any,
    ) -> bool:
        """Tell whether there is an artifact of that name."""
        return cls(_place(name, namespace, protocol, base_path, params)).exists

    # What it is

    @property
    def name(self) -> str:
        """Its name, which is that of its folder."""
        return self._place.name

    @property
    def namespace(self) -> str:
        """The namespace it is in."""
        return self._place.namespace

    @property
    def path(self) -> str:
        """The folder with its files."""
        return self._snapshot.folder if self._snapshot else self._place.folder

    @property
    def uri(self) -> str:
        """Its address, as ``PROTOCOL://PATH``."""
        return f"{self._place.files.protocol}://{self.path}"

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return bool(self._draft or self._snapshot) or places.read_or_guess(self._place) is not None

    @property
    def is_empty(self) -> bool:
        """Whether it has no files, or is not there."""
        return not (self.exists and self._names())

    def __bool__(self) -> bool:
        return not self.is_empty

    def __repr__(self) -> str:
        return f"Artifact<{self.uri}>"

    # Versions

    @property
    def version(self) -> int:
        """Its number; each save and each transaction makes a version, and counts one further."""
        return self._seen().manifest.version

    @property
    def versions(self) -> list[int]:
        """The versions that can be read, the newest last."""
        return snapshots.versions(self._place)

    def at(self, version: int) -> Artifact:
        """Return one of its versions, which can be read and not be changed.

        :raises FileNotFoundError: it is not kept
        """
        return Artifact(self._place, snapshot=snapshots.of_version(self._place, version))

    # Metadata

    @property
    def metadata(self) -> dict[str, Any]:
        """A copy of all metadata."""
        before = self._seen().manifest.metadata
        return self._draft.metadata(before) if self._draft else dict(before)

    def get_meta(self, key: str, default: Any = None) -> Any:
        """Return what is under a key of the metadata."""
        return self.metadata.get(key, default)

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a value in the metadata.

        :raises TypeError: it has no form in JSON
        """
        if key == manifests.OURS:
            raise ValueError(f"metadata {key!r} is not the user's; take another key")
        try:
            text = orjson.dumps(value, None, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        except TypeError as error:
            raise TypeError(f"metadata {key!r} of artifact {self._place}: {error}") from None
        self._change(lambda draft: draft.assign(key, orjson.loads(text)))

    def del_meta(self, key: str) -> None:
        """Remove a key from the metadata.

        :raises KeyError: it is not there
        """
        if key not in self.metadata:
            raise KeyError(key)
        self._change(lambda draft: draft.unassign(key))

    def __getitem__(self, key: str) -> Any:
        return self.get_meta(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.set_meta(key, value)

    def __delitem__(self, key: str) -> None:
        self.del_meta(key)

    # Files

    def list_files(self, include_meta: bool = False) -> list[ArtifactFile]:
        """Return its files in the order of their names.

        :param include_meta: also the file with the metadata, as it was when the artifact was saved
        """
        extra = [manifests.FILE] if include_meta else []
        return [ArtifactFile(name, self) for name in (*extra, *self._names())]

    def __iter__(self) -> Iterator[ArtifactFile]:
        return iter(self.list_files())

    def has_file(self, name: str) -> bool:
        """Tell whether it has a file of that name."""
        if self._draft is not None:
            return self._draft.has(name, self._seen())
        return self._seen().has(name)

    def __contains__(self, name: str) -> bool:
        return self.has_file(name)

    def get_file(self, name: str, create: bool = False) -> ArtifactFile:
        """Return a file.

        :param create: make an empty one if it is not there
        :raises FileNotFoundError: it is not there
        """
        if not self.has_file(name):
            if not create:
                raise FileNotFoundError(f"artifact {self._place} has no file {name!r}")
            return self.new_file(name)
        return ArtifactFile(name, self)

    def new_file(
        self, name: str, content: str | bytes | None = None, *, exist_ok: bool = True
    ) -> ArtifactFile:
        """Make a file; one that is there is returned as it is.

        :raises FileExistsError: it is there, and that is not ``exist_ok``
        :raises ValueError: the name is none
        """
        file = ArtifactFile(checked_file(name), self)
        if not self.has_file(name):
            file.write(content or b"")
        elif not exist_ok:
            raise FileExistsError(f"artifact {self._place} has a file {name!r} already")
        return file

    def delete_file(self, name: str) -> None:
        """Remove a file.

        :raises FileNotFoundError: it is not there
        """
        self.get_file(name)
        self._change(lambda draft: draft.remove(name))

    def clear(self) -> None:
        """Remove all files and all metadata; earlier versions stay."""
        self._seen()
        self._change(Draft.clear)

    def delete(self) -> None:
        """Remove the artifact, with all its versions."""
        self._thaw()
        commits.delete(self._place)

    # Reading and writing, for files and stores

    @contextmanager
    def transaction(
        self,
        *,
        keep: int | None = None,
        create: bool = False,
        type: str = "",  # noqa: A002
    ) -> Iterator[Artifact]:
        """Make one new version of all that is changed in the context, or none if it fails.

        :param keep: how many versions before it stay readable; by default as many as the last time
        :param create: make the artifact if it is not there
        :param type: of the value that the files are
        """
        if self._draft is not None:
            yield self  # part of the one around it
            return
        self._thaw()
        if keep is not None and not (isinstance(keep, int) and keep >= 0):
            raise ValueError(f"keep {keep!r} is no number of versions: give 0 or more")
        found = places.read_or_guess(self._place) if create else self._seen().manifest
        before = Snapshot(self._place, found or Manifest(), self._place.folder)
        with commits.drafted(self._place) as draft:
            draft.type = type
            self._draft, self._before = draft, before
            try:
                yield self
            finally:
                self._draft = self._before = None
            commits.commit(draft, create=create, new=True, keep=keep)

    def content(self, name: str) -> bytes:
        """Return what is in a file, checked."""
        if self._draft is not None and name in self._draft.written:
            return self._draft.read(name)
        return self._reading(lambda snapshot: snapshot.read(name))

    @contextmanager
    def writing(self, name: str, content: bytes = b"") -> Iterator[IO[bytes]]:
        """Open a file to replace what is in it, beginning with ``content``."""
        self._thaw()
        checked_file(name)
        if self._draft is not None:
            with self._draft.writing(name, content) as stream:
                yield stream
            return
        self._seen()
        with commits.drafted(self._place) as draft:
            with draft.writing(name, content) as stream:
                yield stream
            commits.commit(draft)

    def _seen(self) -> Snapshot:
        """Return what is to be seen.

        :raises FileNotFoundError: the artifact is not there
        """
        return self._before or self._snapshot or snapshots.newest(self._place)

    def _reading(self, read: Callable[[Snapshot], _T]) -> _T:
        for _ in range(TRIES):
            try:
                return read(self._seen())
            except ArtifactChanged:
                if self._before or self._snapshot:
                    raise
        raise ArtifactChanged(str(self._place))

    def _names(self) -> list[str]:
        if self._draft is not None:
            return self._draft.names(self._seen())
        return self._seen().names()

    def _change(self, change: Callable[[Draft], None]) -> None:
        self._thaw()
        if self._draft is not None:
            change(self._draft)
            return
        with commits.drafted(self._place) as draft:
            change(draft)
            commits.commit(draft)

    def _thaw(self) -> None:
        """Show what is in force from now on, to change it; earlier versions stay as they are."""
        if self._snapshot and self._snapshot.folder != self._place.folder:
            raise PermissionError(f"a version of artifact {self._place} is read here, not changed")
        self._snapshot = None


def _place(
    name: str, namespace: str, protocol: str, base_path: str, params: dict[str, Any]
) -> Place:
    return Root.at(protocol, base_path, params).place(namespace or "default", name)
