"""Values as bytes: pickled once where they are made, unpickled once where they are used.

A payload is one block: the number of segments (4 bytes), their lengths (8 bytes each), and the
segments, each on a 64-byte boundary. The first segment is the pickle (protocol 5); the others are
the buffers that it refers to, such as the memory of an array, so that mapping the block is enough
to have them without a copy.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator
from copyreg import dispatch_table
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cloudpickle

from flowdapt.errors import ResultNotPicklable
from flowdapt.objects import Buffer

DEEPEST = 200  #: levels of nesting in which the culprit is looked for
ALIGNMENT = 64  #: bytes; what vectorized code wants of an array's memory

Segments = list[Any]  # buffers: bytes, or memoryviews of the value's own memory


def dump(value: Any, what: str = "the value") -> Segments:
    """Pickle a value; large buffers are referred to, not copied.

    :param what: names the value in the error
    :raises ResultNotPicklable: naming the type at fault
    """
    buffers: list[pickle.PickleBuffer] = []
    value = _Bytes(value) if type(value) in (bytes, bytearray) else value
    try:
        try:
            head = _pickled(pickle.Pickler, value, buffers)
            if b"__main__" in head:  # which is another module in every process
                raise pickle.PicklingError
        except (pickle.PicklingError, AttributeError, TypeError):
            # Functions and classes of scripts and notebooks go by value.
            head = _pickled(cloudpickle.CloudPickler, value, buffers)
    except Exception as error:
        raise ResultNotPicklable(
            f"{what} cannot be pickled: {_culprit(value)}: {type(error).__name__}: {error}"
        ) from error
    return [head, *(buffer.raw() for buffer in buffers)]


def _pickled(
    pickler: type[pickle.Pickler], value: Any, buffers: list[pickle.PickleBuffer]
) -> bytes:
    buffers.clear()
    stream = io.BytesIO()
    made = pickler(stream, 5, buffer_callback=buffers.append)
    if known := _reducers("numpy" in sys.modules, "polars" in sys.modules):
        made.dispatch_table = ChainMap(known, getattr(made, "dispatch_table", dispatch_table))
    made.dump(value)
    return stream.getvalue()


@cache
def _reducers(numpy: bool, polars: bool) -> dict[Any, Callable[[Any], Any]]:
    """Return how values are pickled that by themselves would leave their memory in the pickle.

    :param numpy: it is imported, like ``polars``; nobody else can have such values
    """
    found: dict[Any, Callable[[Any], Any]] = {}
    if numpy:
        found[import_module("numpy").ndarray] = _whole
    if polars and find_spec("pyarrow"):
        module = import_module("polars")
        newest = module.CompatLevel.newest()  # another one copies strings

        def reduced(frame: Any) -> Any:
            kinds = frame.dtypes if hasattr(frame, "dtypes") else [frame.dtype]
            if any(kind.base_type() not in plain for kind in kinds) or not kinds:
                return frame.__reduce_ex__(5)
            return module.from_arrow, (frame.to_arrow(compat_level=newest),)

        names = "Boolean Date Datetime Duration Float32 Float64 Int8 Int16 Int32 Int64 String Time"
        names += " UInt8 UInt16 UInt32 UInt64 Binary"
        plain = {getattr(module, name) for name in names.split()}  # Arrow has the same
        found[module.DataFrame] = reduced
    return found


def _whole(array: Any) -> Any:
    """Reduce an array; one with gaps between its elements cannot be a buffer, and is copied."""
    whole = array if array.flags.forc else array.copy()
    return whole.__reduce_ex__(5)


class _Bytes:
    """Plain bytes, which can be a buffer but by themselves never are."""

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self.value), (pickle.PickleBuffer(self.value),)


def _culprit(value: Any) -> str:
    """Return the type name of the innermost part of ``value`` that cannot be pickled."""
    for _ in range(DEEPEST):
        parts = value.values() if isinstance(value, dict) else value
        if not isinstance(value, dict | list | tuple | set | frozenset):
            break
        faulty = [part for part in parts if not _can_be_pickled(part)]
        if not faulty:
            break
        # One that is in itself comes last, so that what makes it faulty is found.
        value = min(faulty, key=lambda part: part is value)
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _can_be_pickled(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True


def size(segments: Segments) -> int:
    """Return how many bytes :func:`pack` makes of the segments."""
    end = 4 + 8 * len(segments)
    for segment in segments:
        end = _aligned(end) + len(segment)
    return end


def _aligned(offset: int) -> int:
    return (offset + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def laid_out(segments: Segments) -> Iterator[Any]:
    """Yield the parts of the block in order: header, segments, and zeros up to each boundary."""
    lengths = [len(segment) for segment in segments]
    yield struct.pack(f"<I{len(lengths)}Q", len(lengths), *lengths)
    end = 4 + 8 * len(lengths)
    for segment, length in zip(segments, lengths, strict=True):
        yield bytes(_aligned(end) - end)
        yield segment
        end = _aligned(end) + length


def pack(segments: Segments) -> bytes:
    """Return the segments as one block."""
    return b"".join(laid_out(segments))


def load(block: Buffer, *, readonly: bool = False) -> Any:
    """Return the value of a block.

    Arrays and the like are views of ``block``. They can be written to unless ``readonly``: where
    the block cannot, it is copied first, which is why large blocks are mapped copy-on-write.
    """
    view = memoryview(block).toreadonly() if readonly else memoryview(block)
    (count,) = struct.unpack_from("<I", view)
    if count > 1 and view.readonly and not readonly:
        view = memoryview(bytearray(view))
    segments: list[memoryview] = []
    end = 4 + 8 * count
    for length in struct.unpack_from(f"<{count}Q", view, 4):
        start = _aligned(end)
        end = start + length
        segments.append(view[start:end])
    return pickle.loads(segments[0], buffers=segments[1:])  # noqa: S301 - from our own workers
