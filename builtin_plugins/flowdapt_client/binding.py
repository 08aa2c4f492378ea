"""Makes methods of calls: of one and the same call, one that blocks and one that is awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from flowdapt_client.steps import Call, Items
from flowdapt_client.streams import AsyncStream, Awaiting, Blocking, Stream

_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Blocking | Awaiting)


class Group(Generic[_S]):
    """Calls about one subject, done by a shell: they block or are awaited, as it does."""

    def __init__(self, shell: _S) -> None:
        self._shell = shell


class Asking(Generic[_P, _T]):
    """A method that returns what comes of a call."""

    def __init__(self, call: Callable[Concatenate[Any, _P], Call[_T]]) -> None:
        self.call = call
        update_wrapper(self, call)  # type: ignore[arg-type]  # it is none itself, and makes some

    @overload
    def __get__(self, group: None, owner: object) -> Self: ...
    @overload
    def __get__(self, group: Group[Blocking], owner: object) -> Callable[_P, _T]: ...
    @overload
    def __get__(
        self, group: Group[Awaiting], owner: object
    ) -> Callable[_P, Coroutine[Any, Any, _T]]: ...
    def __get__(self, group: Any, owner: object) -> Any:
        return self if group is None else update_wrapper(partial(self._ask, group), self.call)

    def _ask(self, group: Any, *args: Any, **options: Any) -> Any:
        return group._shell.run(self.call(group, *args, **options))


class Iterating(Generic[_P, _T]):
    """A method that returns what a call hands on."""

    def __init__(self, call: Callable[Concatenate[Any, _P], Items[_T]]) -> None:
        self.call = call
        update_wrapper(self, call)  # type: ignore[arg-type]  # it is none itself, and makes some

    @overload
    def __get__(self, group: None, owner: object) -> Self: ...
    @overload
    def __get__(self, group: Group[Blocking], owner: object) -> Callable[_P, Stream[_T]]: ...
    @overload
    def __get__(self, group: Group[Awaiting], owner: object) -> Callable[_P, AsyncStream[_T]]: ...
    def __get__(self, group: Any, owner: object) -> Any:
        return self if group is None else update_wrapper(partial(self._iterate, group), self.call)

    def _iterate(self, group: Any, *args: Any, **options: Any) -> Any:
        return group._shell.iterate(self.call(group, *args, **options))
