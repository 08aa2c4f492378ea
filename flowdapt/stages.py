"""What a stage's definition means: its type, and the function that its target names."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from flowdapt.errors import TargetNotFound, nearest
from flowdapt.texts import shown

Target = str | Callable[..., Any]  #: an import path, or the function itself


class StageType(ABC):
    """How a stage's definition becomes a function. Plugins add types; made in the worker."""

    mapped: ClassVar[bool] = False  #: the function is called once for each element of a list

    @abstractmethod
    def function(self, target: Target, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return what is to be called, sync or async.

        :raises TargetNotFound: the target cannot be imported
        """


class Simple(StageType):
    """The target is called once."""

    def function(self, target: Target, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the target itself."""
        del options
        return resolve(target)


class Parameterized(Simple):
    """The target is called once for each element of a list."""

    mapped = True


def itself(value: Any) -> Any:
    """Return what it is given: the target of calls that only put a result into another form."""
    return value


TYPES = {"simple": "flowdapt.stages:Simple", "parameterized": "flowdapt.stages:Parameterized"}


def resolve(target: Target) -> Callable[..., Any]:
    """Import the function at ``package.module.function``.

    :raises TargetNotFound: naming what is missing, and the nearest names there are
    """
    if not isinstance(target, str):
        return target
    module_name, _, attribute = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        function = getattr(module, attribute, None)  # which may import more, in lazy modules
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may do anything while it is imported, even exit
        raise TargetNotFound(target, _why(error, module_name)) from error
    if function is None:
        names = [name for name, value in vars(module).items() if callable(value)]
        reason = f"module {module_name!r} has no {attribute!r}{nearest(attribute, names)}"
        raise TargetNotFound(target, reason, mistyped=True)
    if not callable(function):
        reason = f"it is a {type(function).__name__}, not a function"
        raise TargetNotFound(target, reason, mistyped=True)
    return function  # type: ignore[no-any-return]  # callable() narrows Any to nothing better


def _why(error: BaseException, module: str) -> str:
    """Say why a module was not imported."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return f"importing {module} raised {type(error).__name__}: {shown(error)}"
    if f"{module}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r}"
    return f"its module needs {error.name!r}"
