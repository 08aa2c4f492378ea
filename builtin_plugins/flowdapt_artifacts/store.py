"""Values as artifacts: what ``flowdapt.objects`` keeps where it lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowdapt.objects import Artifacts, Entry, Hook
from flowdapt_artifacts import snapshots
from flowdapt_artifacts.artifact import TRIES, Artifact
from flowdapt_artifacts.errors import ArtifactChanged
from flowdapt_artifacts.places import Place, Root
from flowdapt_artifacts.values import load_object, save_object


class Store(Artifacts):
    """Artifacts at one place. Readers get a value whole: the one before, or the new one.

    Each method takes ``protocol``, ``base_path`` and parameters of the file system to look
    elsewhere.

    :param protocol: of fsspec, such as ``file``, ``s3`` or ``memory``
    :param base_path: the folder that ``artifacts`` is in
    :param parameters: of the file system
    """

    def __init__(
        self,
        protocol: str = "file",
        base_path: str | None = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self._protocol, self._base_path = protocol, base_path or ""
        self._parameters = dict(parameters or {})

    def save(
        self,
        namespace: str,
        name: str,
        value: Any,
        *,
        hook: Hook = None,
        keep: int | None = None,
        **params: Any,
    ) -> None:
        """Write a value, as ``hook(artifact, value)`` does or else as one pickle.

        The hook is handed what is there already, to change it; nobody else sees any of it before
        it is done, and nothing changes if it fails.

        :param keep: how many versions before this one stay readable; by default as many as the
            last time, which at first is none
        """
        artifact = Artifact(self.place(namespace, name, **params))
        kind = type(value)
        full = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        with artifact.transaction(keep=keep, create=True, type=full):
            (hook or save_object)(artifact, value)

    def load(
        self,
        namespace: str,
        name: str,
        *,
        hook: Hook = None,
        version: int | None = None,
        **params: Any,
    ) -> Any:
        """Return what ``hook(artifact)`` reads, or the value that was saved without one.

        :param version: by default the newest
        :raises FileNotFoundError: there is no such artifact or version
        :raises flowdapt.artifacts.ArtifactCorrupt: a file of it is not what was saved
        """
        place = self.place(namespace, name, **params)
        for _ in range(TRIES):
            if version is None:
                snapshot = snapshots.newest(place)
            else:
                snapshot = snapshots.of_version(place, version)
            try:
                return (hook or load_object)(Artifact(place, snapshot=snapshot))
            except ArtifactChanged:
                continue  # it was replaced between two of its files
        raise ArtifactChanged(str(place))

    def exists(self, namespace: str, name: str, **params: Any) -> bool:
        """Tell whether an artifact is there."""
        return Artifact(self.place(namespace, name, **params)).exists

    def delete(self, namespace: str, name: str, **params: Any) -> None:
        """Remove an artifact with all its versions; silent if it is not there."""
        artifact = Artifact(self.place(namespace, name, **params))
        if artifact.exists:
            try:
                artifact.delete()
            except FileNotFoundError:
                return  # somebody else was quicker

    def list(self, namespace: str | None = None, **params: Any) -> Iterator[Entry]:
        """Yield what is there, in one namespace or in all, in the order of their names."""
        root = self.root(**params)
        for one in root.namespaces() if namespace is None else [namespace]:
            for place, manifest in snapshots.all_of(root, one):
                size, saved = manifest.size, manifest.saved
                if not manifest.version:  # an earlier release wrote it
                    found = root.files.files(place.folder).values()
                    size = sum(facts.size for facts in found)
                    saved = max((facts.changed for facts in found), default=0.0)
                yield Entry(one, place.name, "artifact", size, manifest.type, saved)

    def versions(self, namespace: str, name: str, **params: Any) -> Sequence[int]:
        """Return the numbers of the versions that can be loaded, the newest last."""
        return snapshots.versions(self.place(namespace, name, **params))

    def place(self, namespace: str, name: str, **params: Any) -> Place:
        """Return where an artifact is, or would be."""
        return self.root(**params).place(namespace, name)

    def root(self, **params: Any) -> Root:
        """Return where all of them are."""
        for name in ("keep", "version"):  # of the other calls, and given to all of them
            params.pop(name, None)
        protocol = params.pop("protocol", "") or self._protocol
        base_path = params.pop("base_path", "") or (
            self._base_path if protocol == self._protocol else ""
        )
        usual = self._parameters if protocol == self._protocol else {}
        return Root.at(protocol, base_path, {**usual, **params})
