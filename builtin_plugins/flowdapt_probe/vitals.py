"""What flowdapt runs on, remembered, so that a plugin which exchanges some of it can be told.

A plugin shares its process with everybody. One whose import replaces ``json.dumps``, or a method
of the kernel, works by itself, and breaks or changes what others do: they would be blamed. This is
no guard against malice. It finds what is written over in modules and in the classes that they
define, not what is changed within a dictionary, by C, or later.
"""

from __future__ import annotations

import builtins
import sys
from importlib import metadata
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

#: Packages and modules that must stay as they are, with all within: those that flowdapt runs on.
STANDARD = (
    "_io _thread abc asyncio builtins collections concurrent contextlib contextvars copyreg"
    " dataclasses datetime enum fcntl functools genericpath hashlib importlib inspect io itertools"
    " json logging mmap operator os pathlib pickle posix posixpath queue random re"
    " secrets select selectors shutil signal socket sqlite3 struct subprocess sys tempfile"
    " threading time traceback types uuid weakref zipfile"
)
REQUIRED = (
    "anyio cloudpickle cronsim cryptography fsspec h11 httpx orjson packaging pluggy psutil"
    " pydantic pydantic_core rich starlette typer uvicorn watchfiles yaml"
)
#: What programs are meant to exchange, and what changes by itself.
FREE = {
    "asyncio.coroutines.iscoroutine",  # by whatever Cython made, which adds its own generators
    "inspect.isgenerator",
    "types.coroutine",
    "logging._loggerClass",
    "logging._logRecordFactory",
    "sys.breakpointhook",
    "sys.displayhook",
    "sys.excepthook",
    "sys.unraisablehook",
    "threading.excepthook",
}

_METHODS = (
    *(BuiltinFunctionType, FunctionType, MethodDescriptorType, WrapperDescriptorType),
    *(classmethod, property, staticmethod),
)
_ABSENT = object()


class Vitals:
    """Remembers what is vital as soon as it is imported, beginning with what is there already."""

    def __init__(self) -> None:
        self._names = {*STANDARD.split(), *REQUIRED.split(), *_ours()}
        self._builtins = dict(vars(builtins))
        self._modules: dict[str, ModuleType] = {}
        self._classes: dict[type, set[str]] = {}
        self._kept: list[tuple[Any, str, Any, Any]] = []
        for name, module in [*sys.modules.items()]:
            self.remember(name, module)
        sys.meta_path.insert(0, _Observer(self))

    def is_vital(self, name: str) -> bool:
        """Tell whether a module of this name must stay as it is."""
        return name.partition(".")[0] in self._names

    def remember(self, name: str, module: ModuleType) -> None:
        """Remember the module that is imported by that name, if it is vital."""
        if not self.is_vital(name):
            return
        self._modules[name] = module
        for attribute, value in [*vars(module).items()]:
            if attribute != "__loader__" and (callable(value) or isinstance(value, ModuleType)):
                self._keep(module, attribute, value)
            if isinstance(value, type) and value.__module__ == module.__name__:
                self._classes[value] = {*vars(value)}
                for inner, method in [*vars(value).items()]:
                    if isinstance(method, _METHODS):
                        self._keep(value, inner, method)

    def _keep(self, holder: Any, name: str, value: Any) -> None:
        if not _is_typings(holder, name):
            self._kept.append((holder, name, value, getattr(value, "__code__", None)))

    def changes(self) -> list[str]:
        """Name what is no longer what it was, and make it what it was."""
        # Without any of the built-in functions until they are themselves again.
        now, changed = builtins.__dict__, []
        for name, value in self._builtins.items():
            if now.get(name, _ABSENT) is not value:
                changed.append((name, now.get(name, _ABSENT)))
                now[name] = value
        told = [f"builtins.{name}{_by(value)}" for name, value in changed if name != "_"]
        return [*told, *self._replaced_modules(), *self._replaced(), *self._overridden()]

    def _replaced_modules(self) -> Iterator[str]:
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                yield f"the module {name}"

    def _replaced(self) -> Iterator[str]:
        for holder, name, value, code in self._kept:
            now = vars(holder).get(name, _ABSENT)
            if now is value and getattr(value, "__code__", None) is code:
                continue
            if now is value:
                value.__code__ = code
            else:
                setattr(holder, name, value)
            if (label := f"{_label(holder)}.{name}") not in FREE:
                yield f"{label}{_by(now)}"

    def _overridden(self) -> Iterator[str]:
        """Name methods that classes had from another class, and now have themselves."""
        for holder, names in self._classes.items():
            for name, value in vars(holder).items():
                new = isinstance(value, FunctionType) and name not in names
                inherited = any(name in vars(above) for above in holder.__mro__[1:])
                if new and inherited and not _is_typings(holder, name):
                    yield f"{_label(holder)}.{name}{_by(value)}"


class _Observer:
    """Finds modules as all others would, and has the vital ones remembered once they are there."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        """Return what the other finders find."""
        if not self._vitals.is_vital(name):
            return None
        for finder in sys.meta_path:
            found = finder.find_spec(name, path, target) if finder is not self else None
            if found is not None:
                self._watch(found)
                return found
        return None

    def _watch(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        if loader is None or isinstance(loader, type):
            return  # part of Python itself, or of a folder without code
        execute = loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            self._vitals.remember(spec.name, sys.modules.get(spec.name, module))

        loader.exec_module = executed


def _ours() -> set[str]:
    """Return the packages that come with flowdapt."""
    entries = metadata.distribution("flowdapt").entry_points.select(group="flowdapt.plugins")
    return {"flowdapt", "flowdapt_workers", *(entry.module for entry in entries)}


def _is_typings(holder: Any, name: str) -> bool:
    """Tell whether typing itself replaces this: ``__init__`` of a protocol, at first instance."""
    return name == "__init__" and getattr(holder, "_is_protocol", False)


def _label(holder: Any) -> str:
    if isinstance(holder, type):
        return f"{holder.__module__}.{holder.__qualname__}"
    return str(holder.__name__)


def _by(value: Any) -> str:
    """Say what stands in place of something, as far as it has a name."""
    if value is _ABSENT:
        return " by nothing"
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return f" by {module}.{name}" if module and name else f" by a {type(value).__name__}"
