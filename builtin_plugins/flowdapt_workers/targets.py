"""The stage types that come with flowdapt, and the functions that targets name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from flowdapt.errors import TargetNotFound, nearest
from flowdapt.stages import StageType, Target
from flowdapt.texts import shown
from flowdapt.walks import Type


class Simple(StageType):
    """The target is called once."""

    def function(self, target: Target, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the target itself."""
        del options
        return resolve(target)


class Parameterized(Simple):
    """The target is called once for each element of a list."""

    mapped = True


TYPES = {name: f"{__name__}:{name.title()}" for name in ("simple", "parameterized")}


def built_in_types() -> dict[str, Type]:
    """Return these types, by name, for whoever has no plugins at hand."""
    made = {"simple": Simple, "parameterized": Parameterized}
    return {name: Type(address, made[name].mapped) for name, address in TYPES.items()}


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
