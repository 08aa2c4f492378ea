"""A memory for tests that need one, and no other process: a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowdapt.context import Address
from flowdapt.objects import Entry, Memory
from flowdapt.payloads import Buffer


class DictMemory(Memory):
    """Blocks of this process, in namespaces.

    :param name: tells memories apart; nothing more
    """

    def __init__(self, name: str) -> None:
        self.address = Address("tests.memories:DictMemory", f'{{"name": "{name}"}}')
        self._blocks: dict[tuple[str, str], bytes] = {}

    def put(
        self,
        namespace: str,
        key: str,
        pieces: Iterable[Buffer],
        *,
        size: int,
        type: str = "",  # noqa: A002
        ttl: float | None = None,
    ) -> None:
        self._blocks[namespace, key] = b"".join(pieces)

    def get(self, namespace: str, key: str, *, writable: bool = False) -> memoryview:
        return memoryview(self._blocks[namespace, key])

    def exists(self, namespace: str, key: str) -> bool:
        return (namespace, key) in self._blocks

    def delete(self, namespace: str, key: str) -> None:
        self._blocks.pop((namespace, key), None)

    def list(self, namespace: str | None = None) -> Iterator[Entry]:
        for (one, key), block in self._blocks.items():
            if namespace in (None, one):
                yield Entry(one, key, "memory", len(block))

    def clear(self, namespace: str) -> None:
        self._blocks = {at: block for at, block in self._blocks.items() if at[0] != namespace}
