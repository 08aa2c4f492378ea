"""Values as bytes: pickled once where they are made, unpickled once where they are used.

A payload is one block: the number of segments (4 bytes), their lengths (8 bytes each), and the
segments, each on a 64-byte boundary. The first segment is the pickle (protocol 5); the others are
the buffers that it refers to, such as the memory of an array, so that mapping the block is enough
to have them without a copy.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import reprlib
import struct
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator
from contextlib import suppress
from copyreg import dispatch_table
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cloudpickle
import orjson

from flowdapt.errors import ResultNotPicklable

ALIGNMENT = 64  #: bytes; what vectorized code wants of an array's memory

Buffer = bytes | bytearray | memoryview | mmap.mmap
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


# JSON ----------------------------------------------------------------------------------------

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
DEEPEST = 200  #: levels of nesting in a JSON text; deeper values become text


def to_json(value: Any) -> bytes:
    """Return any value as JSON text; what JSON has no form for becomes text.

    Tuples and sets are arrays, times and UUIDs their canonical text, NaN and infinities null,
    bytes UTF-8 text, integers beyond 64 bits decimal text.
    """
    try:
        return orjson.dumps(value, _plain, _OPTIONS)
    except (TypeError, ValueError, RecursionError):  # such as a large integer, or half a surrogate
        return orjson.dumps(_rebuilt(value))


def _plain(value: Any) -> Any:
    """Return a JSON-like form of one value that orjson does not know."""
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="replace")
    dump = getattr(value, "model_dump", None)  # pydantic's models
    if callable(dump) and not isinstance(value, type):
        for options in ({"mode": "json"}, {}):  # not the first if something has no encoding
            with suppress(Exception):
                return dump(**options)
    to_list = getattr(value, "tolist", None)  # numpy's scalars, and arrays that are not contiguous
    if callable(to_list) and type(value).__module__ == "numpy":
        return to_list()
    return shown(value)


def shown(value: Any) -> str:
    """Return ``str(value)`` as text that has a form in UTF-8, also where making it fails."""
    try:
        text = value if isinstance(value, str) else str(value)
        return text.encode(errors="replace").decode()
    except Exception:  # an object of the user's may fail to say anything
        return f"<{type(value).__name__} that cannot be shown>"


def _rebuilt(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return ``value`` rebuilt of what orjson always takes; slow, so only where it refused.

    :param above: the identities of the values that this one is in
    """
    if isinstance(value, str):
        return shown(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if id(value) in above:
        return "..."
    if len(above) == DEEPEST:
        return shown(reprlib.repr(value))
    above = (*above, id(value))
    simple = _simpler(value)
    if isinstance(simple, dict):
        return {_key(key): _rebuilt(part, above) for key, part in simple.items()}
    if isinstance(simple, list):
        return [_rebuilt(part, above) for part in simple]
    return _rebuilt(simple, above)


def _simpler(value: Any) -> Any:
    """Return what orjson makes of a value, or we of what it does not know, one level deep."""
    if isinstance(value, dict | list):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in fields(value) if not field.name.startswith("_")]
        return {name: getattr(value, name) for name in shown}
    return _plain(value)


def _key(key: Any) -> str:
    plain = _rebuilt(key)
    if isinstance(plain, bool) or plain is None:
        return {True: "true", False: "false", None: "null"}[plain]
    return plain if isinstance(plain, str) else shown(key)
