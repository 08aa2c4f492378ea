"""The files that a table or an array is split into: ``partition-<i>.<format>``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.file import ArtifactFile

_Way = TypeVar("_Way")
_NUMBER = re.compile(r"(\d+)\.\w+$")


def bounds(length: int, parts: int) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends; their lengths differ by one at most.

    :raises ValueError: there is less than one part
    """
    if parts < 1:
        raise ValueError(f"num_parts is {parts}, and should be 1 or more")
    for part in range(parts):
        yield length * part // parts, length * (part + 1) // parts


def new(artifact: Artifact, number: int, kind: str) -> ArtifactFile:
    """Return the file of a partition, to be written."""
    return ArtifactFile(f"partition-{number}.{kind}", artifact)


def ordered(artifact: Artifact, kind: str) -> list[ArtifactFile]:
    """Return the partitions as they were written: by number, not by text.

    :raises ValueError: there are none of that format
    """
    files = artifact.list_files()
    found = [file for file in files if file.name.endswith(f".{kind}")]
    if not found:
        names = ", ".join(file.name for file in files) or "none at all"
        raise ValueError(
            f"artifact {artifact.name!r} does not contain any files ending in '.{kind}', "
            f"but {names}"
        )
    return sorted(found, key=_place)


def _place(file: ArtifactFile) -> tuple[int, str]:
    number = _NUMBER.search(file.name)
    return int(number[1]) if number else -1, file.name


def chosen(kind: str, ways: Mapping[str, _Way]) -> _Way:
    """Return what reads or writes a format.

    :raises ValueError: nothing does
    """
    if kind not in ways:
        raise ValueError(f"{kind!r} is no format for this; there are {', '.join(ways)}")
    return ways[kind]
