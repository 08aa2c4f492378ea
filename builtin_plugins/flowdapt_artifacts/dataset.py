"""Hooks that write tables and arrays as files that other programs read, too."""

from __future__ import annotations

from typing import Any

from flowdapt.context import get_run_context
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.handlers import ANY, get_handler_func, type_name
from flowdapt_artifacts.values import Load, Save

FRAMES = {  #: what a frame can be asked for as
    "pandas": "pandas.DataFrame",
    "polars": "polars.dataframe.frame.DataFrame",
    "arrow": "pyarrow.lib.Table",
}


def dataframe_to_artifact(
    format: str = "parquet",  # noqa: A002 - what users call it
    *,
    executor: str = "",
    **kwargs: Any,
) -> Save:
    """Return a hook that writes a frame of pandas or polars, or a table of Arrow.

    :param format: ``parquet``, ``csv`` or ``feather``
    :param executor: whose handlers are used, by default the run's
    :param kwargs: for the handler, such as ``num_parts``, the number of files
    """
    return _to_artifact(format, executor, kwargs)


def dataframe_from_artifact(
    format: str = "parquet",  # noqa: A002
    *,
    executor: str = "",
    to: str = "",
    **kwargs: Any,
) -> Load:
    """Return a hook that reads a frame, of the type that was written.

    :param format: that it was written in, or ``orc``
    :param to: the type to return instead: ``pandas``, ``polars`` or ``arrow``
    """
    if to and to not in FRAMES:
        raise ValueError(f"{to!r} is nothing a frame can be read as: {', '.join(FRAMES)}")
    return _from_artifact(format, executor, kwargs, FRAMES.get(to, ""))


def array_to_artifact(
    format: str = "npy",  # noqa: A002
    *,
    executor: str = "",
    **kwargs: Any,
) -> Save:
    """Return a hook that writes an array of numpy, see :func:`dataframe_to_artifact`."""
    return _to_artifact(format, executor, kwargs)


def array_from_artifact(
    format: str = "npy",  # noqa: A002
    *,
    executor: str = "",
    **kwargs: Any,
) -> Load:
    """Return a hook that reads what :func:`array_to_artifact` wrote."""
    return _from_artifact(format, executor, kwargs, "")


def _to_artifact(kind: str, executor: str, options: dict[str, Any]) -> Save:
    def to_artifact(artifact: Artifact, value: Any) -> None:
        name = type_name(value)
        handler = get_handler_func(executor or _executor(), name, "to_artifact")
        with artifact.transaction():
            artifact.clear()
            artifact["value_type"] = name
            handler(artifact, value, format=kind, **options)

    return to_artifact


def _from_artifact(kind: str, executor: str, options: dict[str, Any], to: str) -> Load:
    def from_artifact(artifact: Artifact) -> Any:
        name = to or artifact["value_type"] or ""
        handler = get_handler_func(executor or _executor(), name, "from_artifact")
        return handler(artifact, format=kind, **options)

    return from_artifact


def _executor() -> str:
    try:
        return get_run_context().executor or ANY
    except RuntimeError:
        return ANY
