"""What a call consists of: generators that say what they need next, and are told the answer.

So each call is written once. Two shells do what it says: one waits, and the other is awaited.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """Needs what the server answers, as JSON is read.

    :param body: anything that JSON has a word for
    :param query: values that are ``None`` are left out; those of a sequence are repeated
    :param kind: asks for our own version of it, where the route has several
    :param content: what is sent as it is, instead of JSON
    :param raw: the answer is wanted as the bytes that it is
    """

    method: str
    path: str
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Listen:
    """Needs a stream of server-sent events, in place of one that the call may have already.

    The answer is what stands before it, as headers.
    """

    request: Request


@dataclass(frozen=True, slots=True)
class Hear:
    """Needs the next bytes of the stream; ``None`` at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Needs time to pass."""

    seconds: float


@dataclass(frozen=True)
class Item(Generic[_T]):
    """Hands something to who iterates over the call."""

    value: _T


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over, and this came of it."""

    value: Any


Step = Request | Listen | Hear | Pause
Call = Generator[Step, Any, _T]
Items = Generator[Step | Item[_T], Any, None]  #: a call that hands on any number of items


class Steps(Generic[_T]):
    """One call on its way."""

    def __init__(self, call: Call[_T] | Items[_T]) -> None:
        self._call: Generator[Any, Any, Any] = call

    def resume(self, answer: Any = None) -> Step | Item[_T] | Ended:
        """Tell the call what it needed, and return what it needs next."""
        try:
            step: Step | Item[_T] = self._call.send(answer)
        except StopIteration as end:
            return Ended(end.value)
        return step

    def fail(self, error: Exception) -> Step | Item[_T] | Ended:
        """Tell the call why it does not get what it needed."""
        try:
            step: Step | Item[_T] = self._call.throw(error)
        except StopIteration as end:
            return Ended(end.value)
        return step

    def close(self) -> None:
        """Give up."""
        self._call.close()
