"""Frames of pandas as artifacts; parquet, feather and orc need pyarrow as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import pandas as pd

from flowdapt_artifacts import partitions
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.handlers import type_name

INDEX = "index_columns"  #: in the metadata: how many columns of a CSV are the index, from the left


def to_artifact(
    artifact: Artifact,
    value: pd.DataFrame,
    format: str = "parquet",  # noqa: A002 - what users call it
    num_parts: int = 1,
) -> None:
    """Write a frame in parts."""
    if not isinstance(value, pd.DataFrame):
        raise AssertionError(f"a pandas frame is wanted, not {type_name(value)}")
    write = partitions.chosen(format, _WRITE)
    if format == "csv" and _is_data(value):
        artifact[INDEX] = value.index.nlevels
    for number, (start, end) in enumerate(partitions.bounds(len(value), num_parts)):
        with partitions.new(artifact, number, format).open("wb") as stream:
            write(value.iloc[start:end], stream)


def from_artifact(artifact: Artifact, format: str = "parquet") -> pd.DataFrame:  # noqa: A002
    """Return the frame, its parts one after another."""
    read = partitions.chosen(format, _READ)
    levels = artifact.get_meta(INDEX, 0) if format == "csv" else 0
    options = {"index_col": list(range(levels))} if levels else {}
    parts = []
    for file in partitions.ordered(artifact, format):
        with file.open("rb") as stream:
            parts.append(read(stream, **options))
    counted = format == "csv" and not levels  # anew in each part
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=counted)


def _is_data(frame: pd.DataFrame) -> bool:
    """Tell whether the index says more than the number of a row."""
    return not (isinstance(frame.index, pd.RangeIndex) and frame.index.name is None)


def _write_csv(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    frame.to_csv(stream, index=_is_data(frame))


def _write_feather(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    import pyarrow as pa
    from pyarrow import feather

    feather.write_feather(pa.Table.from_pandas(frame), stream)  # pandas takes no index but a range


_WRITE: dict[str, Callable[..., Any]] = {
    "parquet": pd.DataFrame.to_parquet,
    "csv": _write_csv,
    "feather": _write_feather,
}
_READ: dict[str, Callable[..., Any]] = {
    "parquet": pd.read_parquet,
    "csv": pd.read_csv,
    "feather": pd.read_feather,
    "orc": pd.read_orc,
}
