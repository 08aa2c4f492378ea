"""Results as bytes that outlive the server: what it stores, and goes on with once it is killed.

A result as a whole is its payload, see :mod:`flowdapt_workers.payloads`. One in pieces, and what
came of some elements, are pickles of plain data of ours, in which the payloads of users stay bytes;
so is what says that a payload is among the artifacts.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

from flowdapt_workers import payloads
from flowdapt_workers.calls import Failed, Piece, Value
from flowdapt_workers.parts import Archived

PIECES = b"flowdapt pieces\n"  #: begins what is no payload: as a number of segments it is too much
PIECES_BYTES = 1024 * 1024  #: lists that are mapped over are stored up to this size


class Elements(NamedTuple):
    """What came of some elements of a mapped stage.

    :param indexes: of all of them
    :param pieces: the results, without those that failed
    :param durations: seconds that each took, in their order: an ``array('f')``
    :param attempts: how often each was tried
    """

    indexes: Sequence[int]
    pieces: Sequence[Piece]
    failures: tuple[Failed, ...] = ()
    failed_items: tuple[Any, ...] = ()
    durations: bytes = b""
    attempts: int = 1


def stored(value: Value, most: int = PIECES_BYTES) -> bytes | None:
    """Return a result as bytes, where it is small and here; else it would have to be fetched.

    :param most: bytes that one in pieces may have
    """
    if value.pieces is None and not isinstance(value.part, Archived):
        return value.part if isinstance(value.part, bytes) else None
    parts = [value.part, *(piece.part for piece in value.pieces or ())]
    if not all(part is None or isinstance(part, bytes | Archived) for part in parts):
        return None
    small = sum(len(part) for part in parts if isinstance(part, bytes)) <= most
    return PIECES + pickle.dumps(value) if small else None


def alone(block: bytes) -> bool:
    """Tell whether a stored result is all there, and refers to nothing that may be gone."""
    if not block.startswith(PIECES):
        return True
    try:
        return not any(isinstance(part, Archived) for part in restored(block).parts)
    except Exception:  # of another release
        return False


def restored(block: bytes) -> Value:
    """Return the result that was stored."""
    if not block.startswith(PIECES):
        return Value(block)
    value: Value = pickle.loads(block[len(PIECES) :])  # noqa: S301 - of our own database
    return value


def loaded(block: bytes) -> Any:
    """Return the value of a result that was stored, unpickled; only for the user's own processes.

    :raises Exception: whatever unpickling raises
    """
    value = restored(block)
    if value.part is not None:
        return payloads.load(bytes(value.part))  # type: ignore[arg-type]  # nothing else is stored
    parts = (bytes(piece.part) for piece in value.pieces or ())  # type: ignore[arg-type]
    return [element for part in parts for element in payloads.load(part)]


def chunk(elements: Elements) -> bytes | None:
    """Return what came of some elements as bytes, unless it lies elsewhere."""
    if not all(isinstance(piece.part, bytes | Archived) for piece in elements.pieces):
        return None
    return pickle.dumps(elements)


def elements(chunk: bytes) -> Elements:
    """Return what came of some elements."""
    found: Elements = pickle.loads(chunk)  # noqa: S301 - of our own database
    return found
