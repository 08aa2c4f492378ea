"""Tables and arrays as artifacts: what is loaded is what was saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import orc

from flowdapt.artifacts import (
    Artifact,
    Store,
    array_from_artifact,
    array_to_artifact,
    dataframe_from_artifact,
    dataframe_to_artifact,
    get_handler_func,
    register_handler,
)
from flowdapt.context import WorkflowRunContext

DATA = {"city": ["Oslo", "Rome", "Bonn", "Graz", "Nice"], "degrees": [1.5, 20.0, 9.0, 7.0, 15.0]}
FRAMES: dict[str, Callable[[Any], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": pa.table,
}
TYPES = {
    "pandas": "pandas.DataFrame",
    "polars": "polars.dataframe.frame.DataFrame",
    "arrow": "pyarrow.lib.Table",
}


def same(one: Any, other: Any) -> bool:
    """Tell whether two frames are of one type and have the same content and index."""
    assert type(one) is type(other)
    return bool(one.equals(other))


@pytest.fixture
def artifact(disk: dict[str, Any]) -> Artifact:
    return Artifact.new_artifact("a", **disk)


# Frames


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("kind", ["parquet", "csv", "feather"])
@pytest.mark.parametrize("library", FRAMES)
def test_a_frame_is_loaded_as_it_was_saved(
    artifact: Artifact, library: str, kind: str, parts: int
) -> None:
    frame = FRAMES[library](DATA)

    dataframe_to_artifact(kind, num_parts=parts)(artifact, frame)

    assert [file.name for file in artifact] == [f"partition-{i}.{kind}" for i in range(parts)]
    assert artifact["value_type"] == TYPES[library]
    assert same(dataframe_from_artifact(kind)(artifact), frame)


def test_a_frame_goes_through_any_storage(where: dict[str, Any]) -> None:
    artifact = Artifact.new_artifact("a", **where)
    frame = pd.DataFrame(DATA)

    dataframe_to_artifact(num_parts=2)(artifact, frame)

    assert same(dataframe_from_artifact()(artifact), frame)


def test_partitions_are_read_in_the_order_of_their_numbers(artifact: Artifact) -> None:
    frame = pd.DataFrame({"row": range(24)})

    dataframe_to_artifact(num_parts=12)(artifact, frame)

    assert list(dataframe_from_artifact()(artifact)["row"]) == list(range(24))


@pytest.mark.parametrize("kind", ["parquet", "csv", "feather"])
def test_an_index_that_says_something_comes_back(artifact: Artifact, kind: str) -> None:
    frame = pd.DataFrame(DATA).set_index("city")

    dataframe_to_artifact(kind, num_parts=2)(artifact, frame)

    assert same(dataframe_from_artifact(kind)(artifact), frame)


def test_a_csv_has_no_column_more_than_the_frame(artifact: Artifact) -> None:
    dataframe_to_artifact("csv")(artifact, pd.DataFrame(DATA))

    assert (
        artifact.get_file("partition-0.csv").read(mode="r").startswith("city,degrees\nOslo,1.5\n")
    )


@pytest.mark.parametrize("library", FRAMES)
def test_an_empty_frame_keeps_its_columns(artifact: Artifact, library: str) -> None:
    frame = FRAMES[library](DATA)[0:0]

    dataframe_to_artifact(num_parts=2)(artifact, frame)

    assert same(dataframe_from_artifact()(artifact), frame)


@pytest.mark.parametrize("to", FRAMES)
@pytest.mark.parametrize("library", FRAMES)
def test_a_frame_is_loaded_as_another_type_on_request(
    artifact: Artifact, library: str, to: str
) -> None:
    dataframe_to_artifact()(artifact, FRAMES[library](DATA))

    found, wanted = dataframe_from_artifact(to=to)(artifact), FRAMES[to](DATA)
    if to == "arrow":
        found = found.cast(wanted.schema)  # texts of pandas and polars are large ones there
    assert same(found, wanted)


@pytest.mark.parametrize("library", FRAMES)
def test_orc_is_loaded(artifact: Artifact, library: str, tmp_path: Path) -> None:
    orc.write_table(pa.table(DATA), tmp_path / "file.orc")
    artifact.new_file("partition-0.orc", (tmp_path / "file.orc").read_bytes())
    artifact["value_type"] = TYPES[library]

    assert same(dataframe_from_artifact("orc")(artifact), FRAMES[library](DATA))


@pytest.mark.parametrize("name", ["pandas.core.frame.DataFrame", "pandas.DataFrame"])
def test_both_names_of_a_frame_of_pandas_are_known(artifact: Artifact, name: str) -> None:
    dataframe_to_artifact()(artifact, pd.DataFrame(DATA))

    artifact["value_type"] = name

    assert same(dataframe_from_artifact()(artifact), pd.DataFrame(DATA))
    assert get_handler_func("*", name, "to_artifact") is get_handler_func(
        "*", "pandas.DataFrame", "to_artifact"
    )


def test_saving_clears_what_was_there(artifact: Artifact) -> None:
    dataframe_to_artifact(num_parts=3)(artifact, pd.DataFrame(DATA))
    artifact["mine"] = 1

    dataframe_to_artifact("csv")(artifact, pd.DataFrame(DATA))

    assert [file.name for file in artifact] == ["partition-0.csv"]
    assert artifact.metadata == {"value_type": "pandas.DataFrame"}


def test_saving_that_fails_clears_nothing(artifact: Artifact) -> None:
    dataframe_to_artifact()(artifact, pd.DataFrame(DATA))

    with pytest.raises(ValueError, match="'orc' is no format for this; there are parquet, csv"):
        dataframe_to_artifact("orc")(artifact, pd.DataFrame(DATA))

    assert same(dataframe_from_artifact()(artifact), pd.DataFrame(DATA))


def test_what_a_format_is_missing_is_told_with_what_there_is(artifact: Artifact) -> None:
    dataframe_to_artifact("csv")(artifact, pd.DataFrame(DATA))

    with pytest.raises(ValueError, match=r"files ending in '.parquet', but partition-0.csv"):
        dataframe_from_artifact("parquet")(artifact)
    with pytest.raises(ValueError, match="'excel' is nothing a frame can be read as"):
        dataframe_from_artifact(to="excel")
    with pytest.raises(ValueError, match="num_parts is 0"):
        dataframe_to_artifact(num_parts=0)(artifact, pd.DataFrame(DATA))


# Arrays


@pytest.mark.parametrize("parts", [1, 11])
def test_an_array_is_loaded_as_it_was_saved(artifact: Artifact, parts: int) -> None:
    array = np.arange(24.0).reshape(12, 2)

    array_to_artifact(num_parts=parts)(artifact, array)

    found = array_from_artifact()(artifact)
    assert len(artifact.list_files()) == parts
    assert artifact["value_type"] == "numpy.ndarray"
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()


def test_an_array_without_axes_and_one_of_objects_are_loaded(artifact: Artifact) -> None:
    array_to_artifact()(artifact, np.array(7))
    assert array_from_artifact()(artifact) == np.array(7)

    array_to_artifact()(artifact, np.array(["a", {}, None], dtype=object))
    assert list(array_from_artifact()(artifact)) == ["a", {}, None]

    with pytest.raises(ValueError, match="without axes"):
        array_to_artifact(num_parts=2)(artifact, np.array(7))


# Handlers


class Grid:
    """A type that nobody knows."""

    def __init__(self, text: str) -> None:
        self.text = text


NAME = f"{Grid.__module__}.{Grid.__qualname__}"


def test_a_type_without_a_handler_is_named(artifact: Artifact) -> None:
    with pytest.raises(
        ValueError, match=r"no handler to_artifact for values of type 'builtins.set'"
    ):
        dataframe_to_artifact()(artifact, set())
    with pytest.raises(ValueError, match="no handler from_artifact for values of type ''"):
        dataframe_from_artifact()(artifact)
    with pytest.raises(ValueError, match="'save' is no operation"):
        register_handler("*", NAME, "save", print)


def test_a_registered_handler_is_used_with_its_options(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_artifacts.handlers._REGISTERED", {})

    def save(artifact: Artifact, value: Grid, format: str, end: str) -> None:  # noqa: A002
        artifact.new_file(f"grid.{format}", value.text + end)

    register_handler("*", NAME, "to_artifact", save)
    register_handler("*", NAME, "from_artifact", lambda artifact, format: Grid("any"))  # noqa: A006
    register_handler("ray", NAME, "from_artifact", lambda artifact, format: Grid("ray"))  # noqa: A006
    dataframe_to_artifact("txt", end="!")(artifact, Grid("text"))

    assert artifact.get_file("grid.txt").read() == b"text!"
    assert artifact["value_type"] == NAME
    assert dataframe_from_artifact("txt")(artifact).text == "any"
    assert dataframe_from_artifact("txt", executor="ray")(artifact).text == "ray"
    assert dataframe_from_artifact("txt", executor="dask")(artifact).text == "any"


def test_the_handlers_are_those_of_the_executor_of_the_run(
    artifact: Artifact, run: WorkflowRunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_artifacts.handlers._REGISTERED", {})
    register_handler("local", NAME, "from_artifact", lambda artifact, format: "local")  # noqa: A006
    artifact["value_type"] = NAME

    assert dataframe_from_artifact()(artifact) == "local"


def test_hooks_go_with_values_that_are_saved_and_loaded(store: Store) -> None:
    store.save("here", "a", pd.DataFrame(DATA), hook=dataframe_to_artifact())

    assert same(store.load("here", "a", hook=dataframe_from_artifact()), pd.DataFrame(DATA))
    assert next(store.list("here")).type == "pandas.DataFrame"
    with pytest.raises(FileNotFoundError, match=r"saved with a hook, as 'pandas.DataFrame'"):
        store.load("here", "a")
