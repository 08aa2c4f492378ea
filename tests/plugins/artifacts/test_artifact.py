"""Artifacts: what they are, their metadata, and their files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

from flowdapt.artifacts import Artifact

Where = dict[str, Any]


# Finding and making


def test_a_new_artifact_is_there_and_empty(where: Where) -> None:
    artifact = Artifact.new_artifact("prices_2-x", "here", **where)

    assert (artifact.name, artifact.namespace) == ("prices_2-x", "here")
    assert artifact.exists
    assert artifact.is_empty
    assert not artifact
    assert Artifact.does_exist("prices_2-x", "here", **where)


def test_a_name_that_is_taken_is_refused(where: Where) -> None:
    Artifact.new_artifact("a", **where)

    with pytest.raises(FileExistsError, match="'a'"):
        Artifact.new_artifact("a", **where)


def test_an_artifact_is_found_or_made_on_request(where: Where) -> None:
    with pytest.raises(FileNotFoundError, match="'a'"):
        Artifact.get_artifact("a", **where)
    made = Artifact.get_artifact("a", create=True, **where)
    made.new_file("file", "text")

    assert Artifact.get_artifact("a", **where).has_file("file")
    assert Artifact.get_artifact("a", create=True, **where).has_file("file")
    assert not Artifact.does_exist("b", **where)


def test_artifacts_are_listed_by_namespace_in_the_order_of_their_names(where: Where) -> None:
    for name, namespace in (("b", "here"), ("a", "here"), ("c", "there")):
        Artifact.new_artifact(name, namespace, **where)

    assert [found.name for found in Artifact.list_artifacts("here", **where)] == ["a", "b"]
    assert [found.name for found in Artifact.list_artifacts("there", **where)] == ["c"]
    assert Artifact.list_artifacts("nowhere", **where) == []
    assert Artifact.list_artifacts(**where) == []


@pytest.mark.parametrize("name", ["", "..", "../b", "a/b", "a.b", "a b", "é", "a\n", "x" * 201])
def test_a_name_that_is_none_is_refused_before_anything_is_touched(where: Where, name: str) -> None:
    for call in (Artifact.new_artifact, Artifact.get_artifact, Artifact.does_exist):
        with pytest.raises(ValueError, match="is no name for an artifact"):
            call(name, **where)
    with pytest.raises(ValueError, match="is no name for an artifact"):
        Artifact.get_artifact(name, create=True, **where)
    if name:  # without one it is the usual
        with pytest.raises(ValueError, match="is no name for a namespace"):
            Artifact.list_artifacts(name, **where)

    assert Artifact.list_artifacts("default", **where) == []


def test_an_artifact_is_where_earlier_releases_look_for_it(where: Where) -> None:
    artifact = Artifact.new_artifact("a", **where)
    artifact.new_file("file", "text")
    artifact["key"] = "value"

    path = f"{where['base_path']}/artifacts/default/a"
    assert artifact.path == path
    assert artifact.uri == f"{where['protocol']}://{path}"
    assert artifact.get_file("file").path == f"{path}/file"
    parameters = {k: v for k, v in where.items() if k not in ("protocol", "base_path")}
    files = fsspec.filesystem(where["protocol"], **parameters)
    files.invalidate_cache()
    names = {found.rpartition("/")[2] for found in files.ls(path, detail=False)}
    assert names == {".artifact.json", "file"}
    assert files.cat_file(f"{path}/file") == b"text"


def test_the_scheme_may_stand_before_the_base_path(disk: Where) -> None:
    Artifact.new_artifact("a", **disk)

    assert Artifact.does_exist("a", base_path=f"file://{disk['base_path']}")


# Metadata


def test_metadata_is_kept_and_seen_by_others(artifact: Artifact, where: Where) -> None:
    artifact["numbers"] = [1, 2.5, None]
    artifact.set_meta("more", {"a": {"b": True}})
    other = Artifact.get_artifact("a", **where)

    assert other["numbers"] == [1, 2.5, None]
    assert other.get_meta("more") == {"a": {"b": True}}
    assert other.metadata == {"numbers": [1, 2.5, None], "more": {"a": {"b": True}}}


def test_metadata_that_is_missing_is_none_or_what_is_asked_for(artifact: Artifact) -> None:
    assert artifact["missing"] is None
    assert artifact.get_meta("missing", 7) == 7
    with pytest.raises(KeyError):
        del artifact["missing"]


def test_metadata_is_removed(artifact: Artifact) -> None:
    artifact["a"], artifact["b"], artifact["c"] = 1, 2, 3

    del artifact["a"]
    artifact.del_meta("b")

    assert artifact.metadata == {"c": 3}


def test_metadata_without_a_form_in_json_is_refused_by_name(disk: Where) -> None:
    artifact = Artifact.new_artifact("a", **disk)

    with pytest.raises(TypeError, match="metadata 'odd' of artifact 'a'"):
        artifact["odd"] = object()
    with pytest.raises(ValueError, match="another key"):
        artifact[".flowdapt"] = 1

    assert artifact.metadata == {}


def test_keys_that_json_has_as_text_are_text(disk: Where) -> None:
    artifact = Artifact.new_artifact("a", **disk)

    artifact["counts"] = {1: "a", None: "b"}

    assert artifact["counts"] == {"1": "a", "null": "b"}


# Files


def test_files_are_made_and_listed_in_the_order_of_their_names(artifact: Artifact) -> None:
    artifact.new_file("b.bin", b"\0\1")
    artifact.new_file("a.txt", "é")
    artifact.new_file("c")

    assert [file.name for file in artifact.list_files()] == ["a.txt", "b.bin", "c"]
    assert [file.read() for file in artifact] == ["é".encode(), b"\0\1", b""]
    with_metadata = [file.name for file in artifact.list_files(include_meta=True)]
    assert with_metadata == [".artifact.json", "a.txt", "b.bin", "c"]
    assert artifact
    assert not artifact.is_empty


def test_a_file_is_found_or_made_on_request(artifact: Artifact) -> None:
    artifact.new_file("file", "text")

    assert artifact.has_file("file")
    assert "file" in artifact
    assert "other" not in artifact
    assert artifact.get_file("file").read() == b"text"
    with pytest.raises(FileNotFoundError, match="has no file 'other'"):
        artifact.get_file("other")
    assert artifact.get_file("other", create=True).read() == b""


def test_a_file_that_is_there_is_returned_as_it_is_or_refused(artifact: Artifact) -> None:
    artifact.new_file("file", "text")

    assert artifact.new_file("file", "other").read() == b"text"
    with pytest.raises(FileExistsError, match="'file'"):
        artifact.new_file("file", "other", exist_ok=False)


def test_a_file_is_read_in_part_and_as_text(artifact: Artifact) -> None:
    file = artifact.new_file("file", "té\nxt")

    assert file.artifact is artifact
    assert file.read(2) == b"t\xc3"
    assert file.read(mode="r") == "té\nxt"
    with file.open() as stream:
        assert list(stream) == ["té\n", "xt"]
    with file.open("rb") as stream:
        assert stream.readline() == "té\n".encode()


def test_a_file_is_written_anew_each_time(artifact: Artifact) -> None:
    file = artifact.new_file("file", "a long text")

    file.write("é")
    assert file.read() == "é".encode()

    file.write(b"\0")
    assert file.read() == b"\0"


def test_a_file_is_opened_to_write_to_append_and_to_change(artifact: Artifact) -> None:
    file = artifact.new_file("file")

    with file.open("w") as stream:
        stream.write("abc")
    with file.open("ab") as stream:
        stream.write(b"def")
    with file.open("r+b") as stream:
        stream.seek(2)
        stream.write(b"XY")

    assert file.read() == b"abXYef"
    with pytest.raises(FileExistsError), file.open("x"):
        pass
    with pytest.raises(ValueError, match="'z' is no mode"), file.open("z"):
        pass


def test_a_file_keeps_its_content_where_writing_it_fails(artifact: Artifact) -> None:
    file = artifact.new_file("file", "old")

    with pytest.raises(ZeroDivisionError), file.open("w") as stream:
        stream.write("new" * (1 // 0))

    assert file.read() == b"old"


def test_files_are_removed(artifact: Artifact) -> None:
    for name in ("a", "b", "c"):
        artifact.new_file(name)

    artifact.get_file("a").remove()
    artifact.delete_file("b")

    assert [file.name for file in artifact] == ["c"]
    with pytest.raises(FileNotFoundError, match="'b'"):
        artifact.delete_file("b")


@pytest.mark.parametrize("name", ["", ".", "..", "../b", "/b", "a/b", ".hidden", "a\0", "a\\b"])
def test_a_file_that_would_be_elsewhere_is_refused(disk: Where, name: str) -> None:
    artifact = Artifact.new_artifact("a", **disk)
    before = sorted(Path(disk["base_path"]).rglob("*"))

    with pytest.raises(ValueError, match="is no name for a file"):
        artifact.new_file(name, "text")
    with pytest.raises(ValueError, match="is no name for a file"):
        artifact.get_file(name, create=True)
    with pytest.raises(FileNotFoundError):
        artifact.get_file(name)

    assert sorted(Path(disk["base_path"]).rglob("*")) == before


# Clearing and deleting


def test_a_cleared_artifact_has_neither_files_nor_metadata(artifact: Artifact) -> None:
    artifact.new_file("file", "text")
    artifact["key"] = "value"

    artifact.clear()

    assert artifact.exists
    assert artifact.is_empty
    assert artifact.metadata == {}


def test_nothing_can_be_done_with_a_deleted_artifact(artifact: Artifact) -> None:
    file = artifact.new_file("file", "text")

    artifact.delete()

    assert not artifact.exists
    assert artifact.is_empty
    assert not artifact
    for call in (
        lambda: artifact.metadata,
        lambda: artifact["key"],
        lambda: artifact.set_meta("key", 1),
        artifact.list_files,
        lambda: artifact.has_file("file"),
        lambda: artifact.get_file("file", create=True),
        lambda: artifact.new_file("file"),
        file.read,
        lambda: file.write("text"),
        artifact.clear,
        artifact.delete,
        lambda: artifact.transaction().__enter__(),
    ):
        with pytest.raises(FileNotFoundError, match="no artifact 'a'"):
            call()
    assert not artifact.exists


# Transactions and versions


def test_a_transaction_is_seen_by_others_when_it_ends(artifact: Artifact, where: Where) -> None:
    artifact.new_file("old", "1")
    other = Artifact.get_artifact("a", **where)

    with artifact.transaction() as changing:
        changing.new_file("new", "2")
        changing.delete_file("old")
        changing["key"] = "value"

        assert [file.read() for file in changing] == [b"2"]
        assert changing["key"] == "value"
        assert [file.read() for file in other] == [b"1"]
        assert other["key"] is None

    assert [file.read() for file in other] == [b"2"]
    assert other["key"] == "value"


def fail_after_changes(artifact: Artifact) -> None:
    artifact.get_file("old").write("2")
    artifact.new_file("new", "2")
    raise ZeroDivisionError


def test_a_file_that_could_not_be_written_in_a_transaction_stays_what_it_was(
    artifact: Artifact,
) -> None:
    artifact.new_file("first", b"good")
    artifact.new_file("second", b"good")

    with artifact.transaction():
        artifact.get_file("second").write(b"better")
        for name in ("first", "second"):
            with suppress(ZeroDivisionError), artifact.get_file(name).open("wb") as stream:
                stream.write(b"ha")
                stream.write(bytes(1 // 0))
        artifact.new_file("third", b"new")
    artifact["later"] = True

    assert [file.read() for file in artifact] == [b"good", b"good", b"new"]


def test_a_transaction_that_fails_changes_nothing(artifact: Artifact) -> None:
    artifact.new_file("old", "1")

    with pytest.raises(ZeroDivisionError), artifact.transaction():
        fail_after_changes(artifact)

    assert [(file.name, file.read()) for file in artifact] == [("old", b"1")]


def test_a_transaction_within_another_is_part_of_it(artifact: Artifact) -> None:
    with artifact.transaction():
        with artifact.transaction():
            artifact.new_file("file", "text")
        assert artifact.version == 1

    assert artifact.version == 2


def test_a_transaction_makes_a_version_that_stays_on_request(artifact: Artifact) -> None:
    for text in ("one", "two", "three"):
        with artifact.transaction(keep=1):
            artifact.get_file("file", create=True).write(text)
            artifact["text"] = text

    assert artifact.versions == [3, 4]
    earlier = artifact.at(3)
    assert (earlier.get_file("file").read(), earlier["text"]) == (b"two", "two")
    assert earlier.version == 3
    assert artifact.get_file("file").read() == b"three"
    with pytest.raises(PermissionError, match="not changed"):
        earlier["text"] = "other"
    with pytest.raises(PermissionError, match="not changed"):
        earlier.delete()
    with pytest.raises(FileNotFoundError, match=r"no version 2 .* there are 3, 4"):
        artifact.at(2)
