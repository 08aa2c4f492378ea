"""The contract of a stage type: what a stage's definition means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

Target = str | Callable[..., Any]  #: an import path, or the function itself


class StageType(ABC):
    """How a stage's definition becomes a function. Plugins add types; made in the worker."""

    mapped: ClassVar[bool] = False  #: the function is called once for each element of a list

    @abstractmethod
    def function(self, target: Target, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return what is to be called, sync or async.

        :raises TargetNotFound: the target cannot be imported
        """


def itself(value: Any) -> Any:
    """Return what it is given: the target of calls that only put a result into another form."""
    return value
