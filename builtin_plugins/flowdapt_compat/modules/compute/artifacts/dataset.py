"""As in earlier releases; see ``flowdapt.artifacts``."""

from flowdapt.artifacts import (
    array_from_artifact,
    array_to_artifact,
    dataframe_from_artifact,
    dataframe_to_artifact,
    get_handler_func,
    register_handler,
)

__all__ = [
    "array_from_artifact",
    "array_to_artifact",
    "dataframe_from_artifact",
    "dataframe_to_artifact",
    "get_handler_func",
    "register_handler",
]
