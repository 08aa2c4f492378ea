"""Tables of Arrow as artifacts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import csv, feather, orc, parquet

from flowdapt_artifacts import partitions
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.handlers import type_name

_WRITE: dict[str, Callable[..., Any]] = {
    "parquet": parquet.write_table,
    "csv": csv.write_csv,
    "feather": feather.write_feather,
}
_READ: dict[str, Callable[..., Any]] = {
    "parquet": parquet.read_table,
    "csv": csv.read_csv,
    "feather": feather.read_table,
    "orc": orc.read_table,
}


def to_artifact(
    artifact: Artifact,
    value: pa.Table,
    format: str = "parquet",  # noqa: A002 - what users call it
    num_parts: int = 1,
) -> None:
    """Write a table in parts."""
    if not isinstance(value, pa.Table):
        raise AssertionError(f"an Arrow table is wanted, not {type_name(value)}")
    write = partitions.chosen(format, _WRITE)
    for number, (start, end) in enumerate(partitions.bounds(len(value), num_parts)):
        with partitions.new(artifact, number, format).open("wb") as stream:
            write(value.slice(start, end - start), stream)


def from_artifact(artifact: Artifact, format: str = "parquet") -> pa.Table:  # noqa: A002
    """Return the table, its parts one after another."""
    read = partitions.chosen(format, _READ)
    parts = []
    for file in partitions.ordered(artifact, format):
        with file.open("rb") as stream:
            parts.append(read(stream))
    # A column of a CSV may look like whole numbers in one part only.
    return pa.concat_tables(parts, promote_options="permissive" if format == "csv" else "none")
