"""Values as one file: JSON and pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowdapt.artifacts import (
    Artifact,
    ArtifactError,
    Store,
    json_from_artifact,
    json_to_artifact,
    pickle_from_artifact,
    pickle_to_artifact,
)


@pytest.fixture
def artifact(disk: dict[str, Any]) -> Artifact:
    return Artifact.new_artifact("a", **disk)


def test_json_is_loaded_as_it_was_saved(artifact: Artifact) -> None:
    json_to_artifact()(artifact, {"a": [1, None, "é"]})
    json_to_artifact("other")(artifact, 2)

    assert artifact.get_file("file.json").read() == '{"a":[1,null,"é"]}'.encode()
    assert artifact["value_type"] == "json"
    assert json_from_artifact()(artifact) == {"a": [1, None, "é"]}
    assert json_from_artifact("other")(artifact) == 2


def test_a_pickle_is_loaded_as_it_was_saved(artifact: Artifact) -> None:
    pickle_to_artifact()(artifact, {1, 2})
    pickle_to_artifact("other")(artifact, lambda: 3)

    assert pickle.loads(artifact.get_file("file.pkl").read()) == {1, 2}
    assert artifact["value_type"] == "pickle"
    assert pickle_from_artifact()(artifact) == {1, 2}
    assert pickle_from_artifact("other")(artifact)() == 3


def test_saving_again_overwrites(artifact: Artifact) -> None:
    for value in ("a longer one", "new"):
        json_to_artifact()(artifact, value)
        assert json_from_artifact()(artifact) == value
        pickle_to_artifact()(artifact, value)
        assert pickle_from_artifact()(artifact) == value


def test_another_type_than_expected_is_an_assertion_error(artifact: Artifact) -> None:
    json_to_artifact()(artifact, 1)
    with pytest.raises(AssertionError, match="has the value_type 'json', not 'pickle'"):
        pickle_from_artifact()(artifact)

    pickle_to_artifact()(artifact, 1)
    with pytest.raises(AssertionError, match="has the value_type 'pickle', not 'json'"):
        json_from_artifact()(artifact)


def test_a_value_without_a_hook_is_a_pickle_that_earlier_releases_read(store: Store) -> None:
    store.save("here", "a", {"key": b"value"})

    def look(artifact: Artifact) -> tuple[Any, ...]:
        (file,) = artifact
        return file.name, artifact.metadata, pickle.loads(file.read())

    found = store.load("here", "a", hook=look)
    assert found == ("object", {"value_type": "object"}, {"key": b"value"})


def test_a_value_is_saved_without_any_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys; from flowdapt_artifacts.store import Store; store = Store('file', sys.argv[1])"
        "; store.save('here', 'a', 1); store.load('here', 'a'); print(*sys.modules)"
    )

    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )

    heavy = {"fsspec", "numpy", "pandas", "polars", "pyarrow", "pydantic"}
    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert loaded & heavy == set()


def test_what_is_no_pickle_is_named(store: Store) -> None:
    store.save("here", "a", None, hook=lambda artifact, _: artifact.new_file("object", "text"))

    with pytest.raises(ArtifactError, match=r"'object' of .*here/a.* is no pickle"):
        store.load("here", "a")
