"""Arrays of numpy as artifacts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdapt_artifacts import partitions
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.handlers import type_name

_WRITE: dict[str, Callable[..., Any]] = {"npy": np.save}
_READ: dict[str, Callable[..., Any]] = {"npy": np.load}


def to_artifact(
    artifact: Artifact,
    value: NDArray[Any],
    format: str = "npy",  # noqa: A002 - what users call it
    num_parts: int = 1,
) -> None:
    """Write an array in parts, along its first axis."""
    if not isinstance(value, np.ndarray):
        raise AssertionError(f"a numpy array is wanted, not {type_name(value)}")
    write = partitions.chosen(format, _WRITE)
    if value.ndim == 0:
        if num_parts != 1:
            raise ValueError(f"an array without axes has one part, not {num_parts}")
        cuts: list[Any] = [...]
    else:
        cuts = [slice(*ends) for ends in partitions.bounds(len(value), num_parts)]
    for number, cut in enumerate(cuts):
        with partitions.new(artifact, number, format).open("wb") as stream:
            write(stream, value[cut])


def from_artifact(artifact: Artifact, format: str = "npy") -> NDArray[Any]:  # noqa: A002
    """Return the array, its parts one after another."""
    read = partitions.chosen(format, _READ)
    parts = []
    for file in partitions.ordered(artifact, format):
        with file.open("rb") as stream:
            parts.append(read(stream, allow_pickle=True))  # for arrays of objects
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
