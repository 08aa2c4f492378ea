"""What goes wrong with artifacts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowdapt.errors import FlowdaptError

_OF_THE_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}


class ArtifactError(FlowdaptError):
    """An artifact cannot be read or written."""


class ArtifactCorrupt(ArtifactError):
    """A file of an artifact is not what was saved, and is not returned.

    :param fact: what was found instead
    """

    def __init__(self, artifact: str, file: str, fact: str) -> None:
        super().__init__(
            f"artifact {artifact} is corrupt: its file {file!r} {fact}; "
            "save it again, or load an earlier version"
        )
        self.artifact, self.file, self.fact = artifact, file, fact

    def __reduce__(self) -> tuple[Any, ...]:
        return ArtifactCorrupt, (self.artifact, self.file, self.fact)


class ArtifactChanged(ArtifactError):
    """An artifact was replaced while it was read, over and over."""

    def __init__(self, artifact: str) -> None:
        super().__init__(f"artifact {artifact} is replaced faster than it can be read; try again")
        self.artifact = artifact

    def __reduce__(self) -> tuple[Any, ...]:
        return ArtifactChanged, (self.artifact,)


class ArtifactNotWritten(ArtifactError, OSError):
    """There is no room for an artifact, or no permission; what was there before is unchanged."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def written(artifact: str) -> Iterator[None]:
    """Name the artifact in errors of the disk; those of a network name who does not answer."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ArtifactNotWritten) or error.errno not in _OF_THE_DISK:
            raise
        fact = f"artifact {artifact} cannot be written: {os.strerror(error.errno).lower()}"
        told = f"{fact}; what was there before is unchanged"
        raise ArtifactNotWritten(error.errno, told) from error
