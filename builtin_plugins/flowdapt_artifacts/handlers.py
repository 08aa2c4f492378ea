"""Which functions write and read which types of values, also types of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from flowdapt.errors import nearest
from flowdapt.hooks import load

Handler = Callable[..., Any]
Operation = Literal["to_artifact", "from_artifact"]

ANY = "*"  #: in place of an executor: all of them
SAME = {"pandas.core.frame.DataFrame": "pandas.DataFrame"}  #: what a type was called before

_OWN = {
    "pandas.DataFrame": "flowdapt_artifacts.pandas_frames",
    "polars.dataframe.frame.DataFrame": "flowdapt_artifacts.polars_frames",
    "pyarrow.lib.Table": "flowdapt_artifacts.arrow_tables",
    "numpy.ndarray": "flowdapt_artifacts.numpy_arrays",
}
_REGISTERED: dict[tuple[str, str, str], Handler] = {}  # filled by packages as they are imported


def register_handler(
    executor: str, data_type: str, operation: Operation | str, handler: Handler
) -> None:
    """Have a function write or read values of a type, rather than one that did so before.

    :param executor: its kind, such as ``local``, or ``*`` for all
    :param data_type: the full name of the type, such as ``pandas.DataFrame``
    :param operation: ``to_artifact`` for ``handler(artifact, value, format=..., **kw)``, or
        ``from_artifact`` for ``handler(artifact, format=..., **kw)``
    :raises ValueError: there is no such operation
    """
    _check(operation)
    _REGISTERED[executor, SAME.get(data_type, data_type), operation] = handler


def get_handler_func(executor: str, data_type: str, operation: Operation | str) -> Handler:
    """Return what was registered for an executor, else for all of them, else what comes with us.

    :raises ValueError: there is none
    """
    _check(operation)
    name = SAME.get(data_type, data_type)
    for kind in (executor, ANY):
        if found := _REGISTERED.get((kind, name, operation)):
            return found
    if name in _OWN:
        handler: Handler = load(f"{_OWN[name]}:{operation}")
        return handler
    known = sorted({*_OWN, *(one for _, one, _ in _REGISTERED)})
    raise ValueError(
        f"no handler {operation} for values of type {data_type!r} on executor {executor!r}"
        f"{nearest(name, known)}; there are some for {', '.join(known)}, "
        "and register_handler() adds one"
    )


def _check(operation: str) -> None:
    if operation not in ("to_artifact", "from_artifact"):
        raise ValueError(f"{operation!r} is no operation: to_artifact or from_artifact")


def type_name(value: Any) -> str:
    """Return the full name of a value's type, as ``value_type`` has it."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return SAME.get(name, name)
