"""What everything that keeps artifacts does."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowdapt.errors import ResultNotPicklable
from flowdapt.objects import Artifacts

FILES = ("a", "b", "c")
NO_NAMES = ["", ".", "..", "a/b", "../../a", "a.b", "a b", "é", "a\n", "/a", ".flowdapt"]


def save_parts(artifact: Any, value: str) -> None:
    """Write a text to several files, as a hook."""
    artifact.clear()
    for name in FILES:
        artifact.new_file(name, value)
    artifact["text"] = value


def load_parts(artifact: Any) -> list[str]:
    """Return what is in those files and in the metadata, as the partner of that hook."""
    parts = [artifact.get_file(name).read().decode() for name in FILES]
    return [*parts, artifact["text"]]


class ArtifactsSuite:
    """What all :class:`flowdapt.objects.Artifacts` do.

    A subclass says how they are made; each call returns some over the same place::

        class TestMyArtifacts(ArtifactsSuite):
            @pytest.fixture
            def make_artifacts(self, tmp_path):
                return lambda: MyArtifacts("file", str(tmp_path), {})
    """

    @pytest.fixture
    def artifacts(self, make_artifacts: Callable[[], Artifacts]) -> Artifacts:
        """Artifacts over a place with nothing in it."""
        return make_artifacts()

    # Values

    @pytest.mark.parametrize(
        "value", [None, {"a": [1, 2.5]}, b"\0" * 1_000_000, {1, 2}, "é"], ids=lambda v: str(v)[:9]
    )
    def test_a_value_is_loaded_as_it_was_saved(
        self, artifacts: Artifacts, make_artifacts: Callable[[], Artifacts], value: Any
    ) -> None:
        artifacts.save("here", "a-value_1", value, hook=None)

        assert artifacts.load("here", "a-value_1", hook=None) == value
        assert make_artifacts().load("here", "a-value_1", hook=None) == value

    def test_a_function_of_a_script_is_saved_by_value(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "double", lambda number: 2 * number, hook=None)

        assert artifacts.load("here", "double", hook=None)(21) == 42

    def test_a_value_takes_the_place_of_the_one_before(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "a", "old", hook=None)

        artifacts.save("here", "a", "new", hook=None)

        assert artifacts.load("here", "a", hook=None) == "new"
        assert [entry.key for entry in artifacts.list("here")] == ["a"]

    def test_what_is_not_there_is_not_found(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "a", 1, hook=None)

        assert artifacts.exists("here", "a")
        assert not artifacts.exists("here", "b")
        assert not artifacts.exists("there", "a")
        with pytest.raises(FileNotFoundError, match="'b'"):
            artifacts.load("here", "b", hook=None)

    def test_a_deleted_value_is_gone_and_its_name_is_free(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "a", 1, hook=None)

        artifacts.delete("here", "a")

        assert not artifacts.exists("here", "a")
        assert list(artifacts.list()) == []
        artifacts.delete("here", "a")
        artifacts.save("here", "a", 2, hook=None)
        assert artifacts.load("here", "a", hook=None) == 2

    def test_the_same_name_in_another_namespace_is_another(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "a", 1, hook=None)
        artifacts.save("there", "a", 2, hook=None)

        artifacts.delete("here", "a")

        assert artifacts.load("there", "a", hook=None) == 2

    def test_entries_tell_what_is_there(self, artifacts: Artifacts) -> None:
        before = time.time()
        artifacts.save("here", "b", {}, hook=None)
        artifacts.save("here", "a", [b"x" * 1000], hook=None)
        artifacts.save("there", "c", 1.5, hook=None)

        entries = list(artifacts.list())

        found = [(entry.namespace, entry.key, entry.type) for entry in entries]
        assert found == [("here", "a", "list"), ("here", "b", "dict"), ("there", "c", "float")]
        assert list(artifacts.list("here")) == entries[:2]
        assert list(artifacts.list("nowhere")) == []
        assert {entry.place for entry in entries} == {"artifact"}
        assert 1000 < entries[0].size < 1200
        assert all(before - 2 <= entry.created <= time.time() + 2 for entry in entries)

    # Bad input

    @pytest.mark.parametrize("name", NO_NAMES)
    def test_a_name_that_is_none_is_refused_and_nothing_is_touched(
        self, artifacts: Artifacts, name: str
    ) -> None:
        for namespace, key in (("here", name), (name, "a")):
            with pytest.raises(ValueError, match="is no name"):
                artifacts.save(namespace, key, 1, hook=None)
            with pytest.raises(ValueError, match="is no name"):
                artifacts.load(namespace, key, hook=None)
            with pytest.raises(ValueError, match="is no name"):
                artifacts.delete(namespace, key)
            with pytest.raises(ValueError, match="is no name"):
                artifacts.exists(namespace, key)

        assert list(artifacts.list()) == []

    def test_what_cannot_be_pickled_is_named_and_changes_nothing(
        self, artifacts: Artifacts
    ) -> None:
        artifacts.save("here", "a", "old", hook=None)

        with pytest.raises(ResultNotPicklable, match="SimpleQueue"):
            artifacts.save("here", "a", [ThreadPoolExecutor()], hook=None)

        assert artifacts.load("here", "a", hook=None) == "old"

    # Hooks

    def test_a_hook_writes_files_and_its_partner_reads_them(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "a", "text", hook=save_parts)

        assert artifacts.load("here", "a", hook=load_parts) == ["text"] * 4

    def test_a_hook_finds_what_it_wrote_and_what_was_there(self, artifacts: Artifacts) -> None:
        seen: list[Any] = []

        def look(artifact: Any, value: Any) -> None:
            seen.append((artifact["text"], [file.name for file in artifact], bool(artifact)))
            artifact.clear()
            seen.append((artifact["text"], [file.name for file in artifact], bool(artifact)))
            artifact.new_file("d", "1").write(value)
            artifact["more"] = 1
            seen.append((artifact.metadata, artifact.get_file("d").read(), "d" in artifact))

        artifacts.save("here", "a", "text", hook=save_parts)
        artifacts.save("here", "a", "2", hook=look)

        before = ("text", ["a", "b", "c"], True)
        assert seen == [before, (None, [], False), ({"more": 1}, b"2", True)]
        names = artifacts.load("here", "a", hook=lambda artifact: [file.name for file in artifact])
        assert names == ["d"]

    def test_a_hook_that_reads_may_make_a_note_of_it(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "a", "text", hook=save_parts)

        def note(artifact: Any) -> list[str]:
            artifact["read"] = True
            return load_parts(artifact)

        assert artifacts.load("here", "a", hook=note) == ["text"] * 4
        assert artifacts.load("here", "a", hook=lambda artifact: artifact["read"]) is True

    def test_a_hook_that_fails_changes_nothing(self, artifacts: Artifacts) -> None:
        def fail(artifact: Any, value: Any) -> None:
            save_parts(artifact, value)
            raise ZeroDivisionError

        artifacts.save("here", "a", "old", hook=save_parts)

        for name in ("a", "b"):
            with pytest.raises(ZeroDivisionError):
                artifacts.save("here", name, "new", hook=fail)

        assert artifacts.load("here", "a", hook=load_parts) == ["old"] * 4
        assert not artifacts.exists("here", "b")

    # Versions

    def test_versions_are_kept_on_request_and_no_more(self, artifacts: Artifacts) -> None:
        artifacts.save("here", "a", 1, hook=None)
        artifacts.save("here", "a", 2, hook=None, keep=2)
        for value in (3, 4):
            artifacts.save("here", "a", value, hook=None)

        kept = {number: artifacts.load("here", "a", hook=None, version=number) for number in (2, 3)}

        assert kept == {2: 2, 3: 3}
        assert artifacts.exists("here", "a", keep=2)
        assert artifacts.load("here", "a", hook=None) == 4
        for number in (1, 5):
            with pytest.raises(FileNotFoundError, match=f"version {number}"):
                artifacts.load("here", "a", hook=None, version=number)

    def test_a_version_goes_with_the_last_that_keeps_it(self, artifacts: Artifacts) -> None:
        for value in (1, 2):
            artifacts.save("here", "a", value, hook=None, keep=5)

        artifacts.save("here", "a", 3, hook=None, keep=0)

        with pytest.raises(FileNotFoundError):
            artifacts.load("here", "a", hook=None, version=2)

    # Several at once

    def test_a_reader_gets_the_old_or_the_new_value_and_never_a_mixture(
        self, make_artifacts: Callable[[], Artifacts]
    ) -> None:
        values = [str(number) * 2000 for number in range(12)]
        make_artifacts().save("here", "a", values[0], hook=save_parts)

        def write() -> None:
            for value in values[1:]:
                make_artifacts().save("here", "a", value, hook=save_parts)

        def read() -> list[list[str]]:
            found = []
            while not writing.done():
                found.append(make_artifacts().load("here", "a", hook=load_parts))
            return found

        with ThreadPoolExecutor(2) as pool:
            writing = pool.submit(write)
            found = pool.submit(read).result()
            writing.result()

        assert all(parts in [[value] * 4 for value in values] for parts in found)
        assert make_artifacts().load("here", "a", hook=load_parts) == [values[-1]] * 4

    def test_of_writers_at_once_one_is_last_and_whole(
        self, make_artifacts: Callable[[], Artifacts]
    ) -> None:
        values = [str(number) * 2000 for number in range(6)]

        with ThreadPoolExecutor(3) as pool:
            for value in values:
                pool.submit(make_artifacts().save, "here", "a", value, hook=save_parts)

        found = make_artifacts().load("here", "a", hook=load_parts)
        assert found in [[value] * 4 for value in values]
