"""How a draft comes into force: all of it, at the moment in which the manifest is written.

Before that moment readers find the version before, whole. After it they find the new one: a file
that was not moved to its place yet is read from the draft. So it does not matter where a writer is
killed; the next one, or a sweep, does what is left to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from flowdapt_artifacts import manifests, places
from flowdapt_artifacts.drafts import Draft
from flowdapt_artifacts.errors import ArtifactCorrupt, written
from flowdapt_artifacts.manifests import Manifest
from flowdapt_artifacts.names import is_name
from flowdapt_artifacts.places import Place, Root
from flowdapt_artifacts.snapshots import Snapshot

_PARTS = ("drafts", "locks", "versions")
ABANDONED_SECONDS = 86_400.0  #: after which a draft on a remote storage has lost its writer


@contextmanager
def drafted(place: Place) -> Iterator[Draft]:
    """Begin a draft; what was not committed at the end is removed."""
    draft = Draft(place, place.new_draft())
    with ExitStack() as stack:
        with written(str(place)):
            stack.enter_context(place.files.claimed(draft.folder))
        try:
            yield draft
        except BaseException:
            if _raw(place).draft == draft.name:
                raise  # it is in force, and not all of it is at its place
            place.files.remove_folder(draft.folder)
            raise
        place.files.remove_empty(draft.folder)


def commit(
    draft: Draft,
    *,
    create: bool = False,
    exclusive: bool = False,
    new: bool = False,
    keep: int | None = None,
) -> None:
    """Put a draft in force.

    :param create: there need not be an artifact
    :param exclusive: there must not be one
    :param new: make a version of it, see :meth:`Draft.applied`
    :raises FileNotFoundError: there is no artifact
    :raises FileExistsError: there is one
    """
    place = draft.place
    with place.files.locked(place.lock):
        _settle(place, but=draft.name)
        before = places.read_or_guess(place) if create else places.read(place)
        if before is None and not create:
            raise FileNotFoundError(f"no artifact {place}")
        if before is not None and exclusive:
            raise FileExistsError(f"there is an artifact {place} already")
        seen = Snapshot(place, before or Manifest(), place.folder)
        there = seen.names() if before and (draft.cleared or before.keep or keep) else seen.known()
        after = draft.applied(before or Manifest(), there, new=new, keep=keep)
        with written(str(place)):
            if new and before and not before.guess and after.keep:
                _preserve(place, before, there)
            place.files.replace(place.manifest, after.to_bytes(), draft.folder)
        _move(place, after, [*draft.written])
        if new and (after.keep or (before and before.keep)):
            _prune(place, after)


def delete(place: Place) -> None:
    """Remove an artifact, with all its versions.

    :raises FileNotFoundError: there is none
    """
    with drafted(place) as draft, place.files.locked(place.lock):
        _settle(place, but=draft.name)
        if places.read_or_guess(place) is None:
            raise FileNotFoundError(f"no artifact {place}")
        # Without writing anything where that is possible: it may be done to make room.
        if place.files.hide(place.folder, draft.folder):
            place.files.remove_folder(draft.folder)
        else:
            gone = Manifest(deleted=True)
            place.files.replace(place.manifest, gone.to_bytes(), draft.folder)
        _bury(place)


def sweep(root: Root, *, age: float = ABANDONED_SECONDS) -> None:
    """Remove what killed writers left behind, and finish what they had put in force.

    :param age: seconds without a change after which a draft is taken for abandoned, where it
        cannot be known whether its writer lives
    """
    for namespace in filter(is_name, root.files.folders(root.hidden)):
        hidden = f"{root.hidden}/{namespace}"
        found = {name for part in _PARTS for name in root.files.names(f"{hidden}/{part}")}
        for name in sorted({entry.partition(".")[0] for entry in found}):
            place = root.place(namespace, name)
            with root.files.locked(place.lock):
                _settle(place, age)
                _prune(place, places.read_or_guess(place) or Manifest())


# What is done under the lock ------------------------------------------------------------------


def _settle(place: Place, age: float = ABANDONED_SECONDS, *, but: str = "") -> None:
    """Finish what killed writers began.

    :param but: a draft that is the caller's own
    """
    before = _raw(place)
    if before.deleted:
        _bury(place)
    elif before.gone:
        place.files.remove(f"{place.folder}/{name}" for name in before.gone)
    drafts = {entry.removesuffix(".lock") for entry in place.files.names(place.drafts)}
    for draft in drafts - {but}:
        folder = f"{place.drafts}/{draft}"
        if draft.partition(".")[0] == place.name and place.files.abandoned(folder, age):
            if draft == before.draft:
                left = place.files.files(folder)
                _move(place, before, [name for name in left if _is_of(before, folder, place, name)])
            place.files.remove_folder(folder)


def _is_of(manifest: Manifest, folder: str, place: Place, name: str) -> bool:
    """Tell whether a file of a draft is what a version has, and no half of it."""
    digest = manifest.files.get(name)
    return digest is not None and not digest.fault(place.files.read(f"{folder}/{name}"))


def _raw(place: Place) -> Manifest:
    """Return the manifest, that of a deleted artifact too."""
    with suppress(FileNotFoundError, NotADirectoryError, ArtifactCorrupt):
        return places.parsed(place, place.files.read(place.manifest))
    return Manifest()


def _move(place: Place, manifest: Manifest, names: list[str]) -> None:
    """Bring the files of what is in force to their place, and remove those that are not in it."""
    draft = f"{place.drafts}/{manifest.draft}"
    place.files.move({f"{draft}/{name}": f"{place.folder}/{name}" for name in names})
    place.files.remove(f"{place.folder}/{name}" for name in manifest.gone)


def _preserve(place: Place, manifest: Manifest, names: list[str]) -> None:
    """Keep what is in force as an earlier version."""
    folder = f"{place.versions}/{manifest.version}"
    place.files.remove_folder(folder)  # a writer may have been killed here before
    place.files.copy({f"{place.folder}/{name}": f"{folder}/{name}" for name in names})
    place.files.copy({place.manifest: f"{folder}/{manifests.FILE}"})


def _prune(place: Place, manifest: Manifest) -> None:
    """Remove the versions that are not to be kept."""
    for name in place.files.folders(place.versions):
        if not (name.isdecimal() and manifest.keeps(int(name))):
            place.files.remove_folder(f"{place.versions}/{name}")


def _bury(place: Place) -> None:
    """Remove what is left of a deleted artifact; what says that it is deleted goes last."""
    place.files.remove_folder(place.versions)
    others = {*place.files.files(place.folder)} - {manifests.FILE}
    place.files.remove(f"{place.folder}/{name}" for name in others)
    place.files.remove_folder(place.folder)
