"""Artifacts as simple as can be: a file each."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowdapt.objects import Artifacts, Entry, Hook


class Shelf(Artifacts):
    """Artifacts in a folder.

    :param folder: with a folder for each namespace
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def save(self, namespace: str, name: str, value: Any, *, hook: Hook, **params: Any) -> None:
        file = self._file(namespace, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(value))

    def load(self, namespace: str, name: str, *, hook: Hook, **params: Any) -> Any:
        return pickle.loads(self._file(namespace, name).read_bytes())

    def exists(self, namespace: str, name: str, **params: Any) -> bool:
        return self._file(namespace, name).exists()

    def delete(self, namespace: str, name: str, **params: Any) -> None:
        self._file(namespace, name).unlink(missing_ok=True)

    def list(self, namespace: str | None = None) -> Iterator[Entry]:
        for file in sorted(self.folder.glob(f"{namespace or '*'}/*")):
            yield Entry(file.parent.name, file.name, "artifact", file.stat().st_size)

    def _file(self, namespace: str, name: str) -> Path:
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name for an artifact")
        return self.folder / namespace / name
