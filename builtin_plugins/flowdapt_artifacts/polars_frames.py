"""Frames of polars as artifacts."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any

import polars as pl

from flowdapt_artifacts import partitions
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.handlers import type_name

_WRITE: dict[str, Callable[..., Any]] = {
    "parquet": pl.DataFrame.write_parquet,
    "csv": pl.DataFrame.write_csv,
    "feather": pl.DataFrame.write_ipc,
}


def to_artifact(
    artifact: Artifact,
    value: pl.DataFrame,
    format: str = "parquet",  # noqa: A002 - what users call it
    num_parts: int = 1,
) -> None:
    """Write a frame in parts."""
    if not isinstance(value, pl.DataFrame):
        raise AssertionError(f"a polars frame is wanted, not {type_name(value)}")
    write = partitions.chosen(format, _WRITE)
    for number, (start, end) in enumerate(partitions.bounds(len(value), num_parts)):
        content = io.BytesIO()
        write(value[start:end], content)
        partitions.new(artifact, number, format).write(content.getvalue())


def from_artifact(artifact: Artifact, format: str = "parquet") -> pl.DataFrame:  # noqa: A002
    """Return the frame, its parts one after another."""
    read = partitions.chosen(format, _READ)
    parts = []
    for file in partitions.ordered(artifact, format):
        with file.open("rb") as stream:
            parts.append(read(stream))
    # A column of a CSV may look like whole numbers in one part only.
    frame: pl.DataFrame = pl.concat(
        parts, how="vertical_relaxed" if format == "csv" else "vertical"
    )
    return frame


def _read_orc(stream: IO[bytes]) -> pl.DataFrame:
    from pyarrow import orc

    return pl.DataFrame(orc.read_table(stream))


_READ: dict[str, Callable[..., Any]] = {
    "parquet": pl.read_parquet,
    "csv": pl.read_csv,
    "feather": pl.read_ipc,
    "orc": _read_orc,
}
