"""Artifacts that are corrupt, foreign, or have no room."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest
from flowdapt_artifacts import remote

from flowdapt.artifacts import (
    Artifact,
    ArtifactCorrupt,
    ArtifactNotWritten,
    Store,
    sweep,
)

# Corrupt


@pytest.mark.parametrize(
    ("harm", "fact"),
    [
        (lambda data: data[:-1], "has 99,999 bytes instead of 100,000"),
        (lambda data: b"", "has 0 bytes instead of 100,000"),
        (lambda data: data[:-1] + b"?", "does not have the content that was written"),
        (None, "is missing"),
    ],
)
def test_a_file_that_is_not_what_was_saved_is_named_and_not_returned(
    store: Store, tmp_path: Path, harm: Callable[[bytes], bytes] | None, fact: str
) -> None:
    store.save("here", "a", None, hook=lambda artifact, _: artifact.new_file("f", b"x" * 100_000))
    path = tmp_path / "artifacts" / "here" / "a" / "f"
    if harm:
        path.write_bytes(harm(path.read_bytes()))
    else:
        path.unlink()

    with pytest.raises(ArtifactCorrupt) as caught:
        store.load("here", "a", hook=lambda artifact: artifact.get_file("f").read())

    assert (caught.value.file, caught.value.fact) == ("f", fact)
    assert f"artifact 'a' in file://{path.parent} is corrupt: its file 'f'" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_flipped_bit_makes_no_other_value(store: Store, tmp_path: Path) -> None:
    store.save("here", "a", "value", keep=3)
    for path in (tmp_path / "artifacts" / "here" / "a").iterdir():
        sound = path.read_bytes()
        for position in range(len(sound)):
            harmed = bytearray(sound)
            harmed[position] ^= 1
            path.write_bytes(harmed)

            with suppress(ArtifactCorrupt):
                assert store.load("here", "a") == "value"
                assert path.name == ".artifact.json"  # it looks like one of an earlier release
        path.write_bytes(sound)

    assert store.load("here", "a") == "value"


def test_a_corrupt_artifact_is_listed_and_can_be_saved_again_or_deleted(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        store.save("here", name, 1)
        (tmp_path / "artifacts" / "here" / name / ".artifact.json").write_text("{")

    assert [entry.key for entry in store.list()] == ["a", "b"]
    assert "'a'" in caplog.text
    store.save("here", "a", 2)
    store.delete("here", "b")

    assert store.load("here", "a") == 2
    assert not store.exists("here", "b")


def test_a_version_before_the_corrupt_one_can_be_loaded(store: Store, tmp_path: Path) -> None:
    for name, file in (("a", "object"), ("b", ".artifact.json")):
        store.save("here", name, "old", keep=1)
        store.save("here", name, "new")
        (tmp_path / "artifacts" / "here" / name / file).write_bytes(b"?")

        with pytest.raises(ArtifactCorrupt):
            store.load("here", name)
        assert store.load("here", name, version=1) == "old"

    store.save("here", "b", "newest")
    assert store.versions("here", "b") == [1, 2]
    assert store.load("here", "b", version=1) == "old"


# Of others


def test_what_earlier_releases_wrote_is_loaded(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "here" / "a"
    folder.mkdir(parents=True)
    (folder / ".artifact.json").write_text('{"value_type": "object"}')
    (folder / "object").write_bytes(pickle.dumps([1, 2]))

    assert store.load("here", "a") == [1, 2]
    (entry,) = store.list("here")
    assert (entry.key, entry.size > 10, entry.created > 0) == ("a", True, True)
    store.save("here", "a", 3, keep=1)
    assert store.load("here", "a") == 3
    assert store.load("here", "a", version=0) == [1, 2]


@pytest.mark.parametrize("metadata", [None, b""])
def test_files_without_metadata_are_an_artifact(
    store: Store, tmp_path: Path, metadata: bytes | None
) -> None:
    folder = tmp_path / "artifacts" / "here" / "a"
    folder.mkdir(parents=True)
    (folder / "file").write_text("text")
    if metadata is not None:
        (folder / ".artifact.json").write_bytes(metadata)
    artifact = Artifact.get_artifact("a", "here", base_path=str(tmp_path))

    assert artifact.metadata == {}
    assert [file.read() for file in artifact] == [b"text"]
    artifact["key"] = "value"
    assert [file.read() for file in artifact] == [b"text"]
    artifact.delete_file("file")
    assert artifact.is_empty


def test_a_file_that_others_add_is_seen_and_goes_when_it_is_cleared(
    store: Store, tmp_path: Path
) -> None:
    store.save("here", "a", 1)
    folder = tmp_path / "artifacts" / "here" / "a"
    (folder / "theirs").write_text("text")
    artifact = Artifact.get_artifact("a", "here", base_path=str(tmp_path))

    assert [file.name for file in artifact] == ["object", "theirs"]
    assert artifact.get_file("theirs").read() == b"text"
    artifact.clear()

    assert sorted(path.name for path in folder.iterdir()) == [".artifact.json"]


def test_metadata_is_read_as_json_by_others(store: Store, tmp_path: Path) -> None:
    store.save("here", "a", 1)

    found = json.loads((tmp_path / "artifacts" / "here" / "a" / ".artifact.json").read_text())

    assert found.pop(".flowdapt")["files"]["object"][0] > 0
    assert found == {"value_type": "object"}


def test_a_folder_that_is_no_artifact_does_not_disturb(store: Store, tmp_path: Path) -> None:
    store.save("here", "a", 1)
    (tmp_path / "artifacts" / "here" / "not a name").mkdir()
    (tmp_path / "artifacts" / "here" / "empty").mkdir()
    (tmp_path / "artifacts" / "here" / "file").write_text("text")

    assert [entry.key for entry in store.list()] == ["a"]
    assert not store.exists("here", "empty")
    assert not store.exists("here", "file")
    store.save("here", "empty", 2)
    assert store.load("here", "empty") == 2


# No room


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Make a disk of 1 MiB of the folder or, where that is not allowed, files of 256 KiB at most.

    Yields what makes a context in which that is so.
    """
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    may = shutil.which("mount") is not None
    if may and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield nullcontext
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    else:
        yield lambda: limited(2**18)


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Have no file grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_named_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    with small_disk(tmp_path) as small:
        store.save("here", "a", b"old" * 1000)

        for name in ("a", "b"):
            with small(), pytest.raises(ArtifactNotWritten, match=f"'{name}'.* cannot be written"):
                store.save("here", name, b"x" * 2**21)

        assert store.load("here", "a") == b"old" * 1000
        assert not store.exists("here", "b")
        hidden = tmp_path / "artifacts" / ".flowdapt"
        assert [path for path in hidden.rglob("*") if path.is_file()] == []
        store.save("here", "a", b"new")
        assert store.load("here", "a") == b"new"


def test_an_artifact_is_deleted_to_make_room(store: Store, tmp_path: Path) -> None:
    with small_disk(tmp_path) as small:
        store.save("here", "a", b"old" * 50_000)
        filler = tmp_path / "filler"
        with small(), suppress(OSError), filler.open("wb", buffering=0) as stream:
            while stream.write(b"x" * 4096):
                pass

        store.delete("here", "a")

        assert not store.exists("here", "a")
        store.save("here", "b", b"new" * 40_000)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file where a folder should be")

    with pytest.raises(OSError, match=f"{tmp_path}/artifacts"):
        Store("file", str(tmp_path)).save("here", "a", 1)


# On a remote storage


def test_a_lock_of_a_writer_that_is_gone_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LEASE_SECONDS", 0.01)
    store = Store("memory", "/broken", {})
    lock = "/broken/artifacts/.flowdapt/here/locks/a"
    files = fsspec.filesystem("memory")
    files.makedirs(lock.rpartition("/")[0])
    files.pipe_file(lock, b"somebody")

    store.save("here", "a", 1)

    assert store.load("here", "a") == 1
    assert not files.exists(lock)


def test_a_writer_whose_lock_was_broken_leaves_that_of_the_next_one_alone() -> None:
    files = remote.RemoteFiles("memory", {})
    system = fsspec.filesystem("memory")

    with files.locked("/locks/a"):
        system.pipe_file("/locks/a", b"the next one")

    assert system.cat_file("/locks/a") == b"the next one"


def test_a_draft_of_a_writer_that_is_gone_is_swept_once_it_is_old() -> None:
    store = Store("memory", "/swept", {})
    store.save("here", "a", 1)
    files = fsspec.filesystem("memory")
    draft = "/swept/artifacts/.flowdapt/here/drafts/a.0123"
    files.makedirs(draft)
    files.pipe_file(f"{draft}/object", b"half")

    sweep("memory", "/swept")
    assert files.exists(f"{draft}/object")

    sweep("memory", "/swept", age=0)
    assert not files.exists(draft)
    assert store.load("here", "a") == 1


def test_a_file_too_large_for_memory_is_written_from_the_disk(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SPOOL_BYTES", 100_000)
    artifact = Artifact.new_artifact("a", **where)

    with artifact.get_file("file", create=True).open("wb") as stream:
        for number in range(10):
            stream.write(bytes([number]) * 50_000)

    content = artifact.get_file("file").read()
    assert (len(content), content[-1]) == (500_000, 9)


def test_changes_at_once_are_all_there_in_the_end(disk: dict[str, Any]) -> None:
    artifact = Artifact.new_artifact("a", **disk)

    def change(number: int) -> None:
        other = Artifact.get_artifact("a", **disk)
        other[f"key-{number}"] = number
        other.new_file(f"file-{number}", f"{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(40)))

    assert artifact.metadata == {f"key-{number}": number for number in range(40)}
    assert {file.name: file.read() for file in artifact} == {
        f"file-{number}": f"{number}".encode() for number in range(40)
    }
