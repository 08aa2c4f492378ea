"""A file of an artifact."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowdapt_artifacts.artifact import Artifact

_WAYS = frozenset("rwax")


class ArtifactFile:
    """A file of an artifact; it is read and written whole, and checked when it is read."""

    def __init__(self, name: str, artifact: Artifact) -> None:
        self._name, self._artifact = name, artifact

    @property
    def name(self) -> str:
        """Its name within the artifact."""
        return self._name

    @property
    def artifact(self) -> Artifact:
        """What it belongs to."""
        return self._artifact

    @property
    def path(self) -> str:
        """Its path on the file system; what is read there by other means is not checked."""
        return f"{self._artifact.path}/{self._name}"

    @contextmanager
    def open(self, mode: str = "r") -> Iterator[IO[Any]]:
        """Open it; what is written is there for others once the context ends without an error.

        :param mode: as for :func:`open`; text is UTF-8
        :raises flowdapt.artifacts.ArtifactCorrupt: it is not what was written
        """
        plain = mode.replace("b", "").replace("t", "")
        way, rest = plain[:1], plain[1:]
        if way not in _WAYS or rest not in ("", "+"):
            raise ValueError(f"{mode!r} is no mode to open a file with, such as r, wb or a")
        if way == "r" and not rest:
            with _as_asked(io.BytesIO(self._artifact.content(self._name)), mode) as stream:
                yield stream
            return
        if way == "x":
            raise FileExistsError(f"{self!r} is there already")
        content = b"" if way == "w" else self._artifact.content(self._name)
        with self._artifact.writing(self._name, content) as raw:
            raw.seek(0, io.SEEK_END if way == "a" else io.SEEK_SET)
            with _as_asked(raw, mode) as stream:
                yield stream

    def read(self, size: int = -1, mode: str = "rb") -> Any:
        """Return its content, or the first bytes of it.

        :param mode: ``r`` for text
        :raises flowdapt.artifacts.ArtifactCorrupt: it is not what was written
        """
        with self.open(mode) as stream:
            return stream.read(size)

    def write(self, data: str | bytes) -> None:
        """Replace its content."""
        with self.open("wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)

    def remove(self) -> None:
        """Remove it from the artifact."""
        self._artifact.delete_file(self._name)

    def __repr__(self) -> str:
        return f"ArtifactFile<{self.path}>"


@contextmanager
def _as_asked(raw: IO[bytes], mode: str) -> Iterator[IO[Any]]:
    """Show a file as bytes or as text."""
    if "b" in mode:
        yield raw
        return
    text = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    try:
        yield text
    finally:
        text.detach()  # or it would close what is not its own
