"""How results are spoken of: as held by the cluster, or as processes of a node find them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from flowdapt_workers.calls import Done, Order, Piece, Task, Value
from flowdapt_workers.parts import INLINE_BYTES, Archived, Held, Part

ANSWER_BYTES = 4 * INLINE_BYTES  #: results up to this size travel in an answer, all together

Known = Callable[[Held], Part]


def held_in(order: Order) -> list[Held]:
    """Return the payloads that an order takes from blocks."""
    parts = [part for value in order.task.args for part in value.parts]
    if order.piece is not None and order.piece.part is not None:
        parts.append(order.piece.part)
    return [part for part in parts if isinstance(part, Held)]


def as_known(order: Order, known: Known) -> tuple[Task, Piece | None]:
    """Return the task and the piece of an order in the words of processes on a node."""

    def of(part: Part) -> Part:
        return known(part) if isinstance(part, Held) else part

    args = tuple(_changed(value, of) for value in order.task.args)
    piece = None if order.piece is None else _moved(order.piece, of)
    return replace(order.task, args=args), piece


def as_held(done: Done, block: int) -> tuple[Done, Sequence[Part]]:
    """Return an answer in the words of the gateway, and the payloads of its block.

    Small ones stay in the answer, unless together they are too much for a message.
    """
    payloads: list[Part] = []
    room = ANSWER_BYTES

    def of(part: Part) -> Part:
        nonlocal room
        if isinstance(part, Archived):
            return part
        if isinstance(part, bytes) and len(part) <= room:
            room -= len(part)
            return part
        payloads.append(part)
        size = len(part) if isinstance(part, bytes) else part.size
        return Held(block, len(payloads) - 1, size)

    json = done.json
    if json is not None:
        json = of(json)  # type: ignore[assignment]  # what is no longer bytes is held
    return replace(done, value=_changed(done.value, of), json=json), payloads


def _changed(value: Value, of: Callable[[Part], Part]) -> Value:
    pieces = None if value.pieces is None else [_moved(piece, of) for piece in value.pieces]
    return Value(_of(value.part, of), pieces)


def _moved(piece: Piece, of: Callable[[Part], Part]) -> Piece:
    return replace(piece, part=_of(piece.part, of))


def _of(part: Part | None, of: Callable[[Part], Part]) -> Part | None:
    return None if part is None else of(part)
