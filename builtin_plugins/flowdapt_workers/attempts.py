"""How often a stage is tried, after what pause, and for how long: the options that say so."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowdapt.context import WorkflowRunContext
from flowdapt.errors import nearest
from flowdapt_workers.asking import Asks
from flowdapt_workers.failures import Interrupted
from flowdapt_workers.functions import Exited, entered

_LONGEST = 366 * 24 * 3600.0  #: seconds; a longer pause or limit is a mistake
_MOST_RETRIES = 1_000_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause before a further attempt.

    :param seconds: before the first of them
    :param factor: by which each pause is longer than the one before
    :param max: seconds that no pause is longer than
    :param jitter: the fraction of a pause by which it is longer or shorter, at random
    """

    seconds: float = 0.0
    factor: float = 1.0
    max: float = math.inf
    jitter: float = 0.0

    @classmethod
    def of(cls, given: object) -> Backoff:
        """Return what is meant by a number, or by an object of numbers.

        :raises ValueError: saying what is wrong, and what would be right
        """
        if given is None:
            return cls()
        if not isinstance(given, Mapping):
            return cls(_number("backoff", given))
        known = cls.__dataclass_fields__
        for key in given:
            if key not in known:
                said = nearest(str(key), known) or f"; there are {', '.join(known)}"
                raise ValueError(f"'backoff' has no {key!r}{said}")
        if "seconds" not in given:
            raise ValueError("'backoff' needs 'seconds', the pause before the second attempt")
        made = cls(**{str(key): _number(f"backoff.{key}", n) for key, n in given.items()})
        if made.factor < 1:
            raise ValueError(f"'backoff.factor' is {made.factor:g}, and must be 1 or more")
        if made.jitter > 1:
            raise ValueError(f"'backoff.jitter' is {made.jitter:g}, and must be between 0 and 1")
        return made

    def before(self, attempt: int) -> float:
        """Return the seconds to wait before an attempt; the second is the first with a pause."""
        try:
            pause = self.seconds * self.factor ** (attempt - 2)
        except OverflowError:
            pause = _LONGEST
        pause = min(pause, self.max, _LONGEST)
        pause *= 1 + self.jitter * random.uniform(-1, 1)  # noqa: S311 - nobody is to be surprised
        return min(pause, self.max)


@dataclass(frozen=True, slots=True)
class Attempts:
    """What the options of a stage say of its attempts; in a parameterized one, of each element's.

    :param retries: how many there may be after the first
    :param backoff: how long to wait before each of those
    :param retry_on: classes of exceptions after which it is tried again: their names alone, or with
        the module; what is derived from them counts
    :param timeout: seconds that an attempt may take
    """

    retries: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    retry_on: tuple[str, ...] = ("Exception",)
    timeout: float | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Attempts:
        """Return what the options of a stage say; others than these four are not looked at.

        :raises ValueError: saying what is wrong, and what would be right
        """
        if not _NAMES.intersection(options):
            return _ONE
        timeout = options.get("timeout")
        if timeout is not None and _number("timeout", timeout) == 0:
            raise ValueError("'timeout' is 0, and must be more: without a limit, leave it out")
        return cls(
            _retries(options.get("retries")),
            Backoff.of(options.get("backoff")),
            _classes(options.get("retry_on")),
            None if timeout is None else float(timeout),
        )

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait before an attempt, the second or a later one."""
        return self.backoff.before(attempt)

    def again(self, failed: int, error: BaseException) -> bool:
        """Tell whether to try again.

        :param failed: attempts so far; those that ended with the death of a worker do not count
        :param error: what was raised by the last of them, in the process where it was
        """
        if failed > self.retries:
            return False
        if isinstance(error, Exited):  # which stands for what the stage raised
            error = error.__cause__ or error
        return any(_is(kind, name) for kind in type(error).__mro__ for name in self.retry_on)

    def again_after(self, failed: int, error: BaseException) -> bool:
        """Do the same as :meth:`again`, where ``error`` may have come before the stage's own code.

        A target that is not found, a missing argument or a result that cannot be pickled is the
        same however often it is tried.
        """
        return failed <= self.retries and entered(error) and self.again(failed, error)

    def late(self, stage: str, item: int | None = None) -> TimeoutError:
        """Return the error of an attempt that took too long."""
        what = f"stage {stage!r}" if item is None else f"element {item} of stage {stage!r}"
        unit = "second" if self.timeout == 1 else "seconds"
        return TimeoutError(f"{what} took longer than its time limit of {self.timeout:g} {unit}")


_NAMES = frozenset(Attempts.__dataclass_fields__)
_ONE = Attempts()


class Trial:
    """One attempt, as the code that is computed sees it: told when it is to end.

    :param context: of the run
    :param attempt: its number, from 1
    :param failed: how many of those before it failed; the others ended with their workers
    """

    def __init__(self, context: WorkflowRunContext, attempt: int = 1, failed: int = 0) -> None:
        self._context, self.attempt, self.failed = context, attempt, failed
        self._seen: list[WorkflowRunContext] = []
        self.cancelled = False
        self.asks: Asks | None = None  #: to be set where its code may ask the server
        self.stage = ""
        self.seconds = 0.0  #: that the function took, where whoever calls it says so
        self.cpu_seconds: float | None = None  #: of its thread, likewise
        #: told that everything is there and the function is called, from when its time counts
        self.entered: Callable[[], None] = lambda: None

    def enter(self) -> None:
        """Begin, unless it is to end already.

        :raises Interrupted: it is
        """
        self.entered()
        if self.cancelled:
            raise Interrupted

    def at(self, stage: str, item: int | None = None) -> WorkflowRunContext:
        """Return what code of that stage and element is to see."""
        self.stage = stage
        seen = self._context.at(stage, item)
        seen.attempt, seen.cancelled, seen.asks = self.attempt, self.cancelled, self.asks
        self._seen.append(seen)
        return seen

    def cancel(self) -> None:
        """Tell whoever looks that it is to end."""
        self.cancelled = True
        for context in self._seen:
            context.cancelled = True
        if self.asks is not None:
            self.asks.close()


def _is(kind: type, name: str) -> bool:
    """Tell whether a class has a name, be it one under which another module has it too."""
    module, _, last = name.rpartition(".")
    if not module:
        return kind.__name__ == name
    if name == f"{kind.__module__}.{kind.__qualname__}":
        return True
    return getattr(sys.modules.get(module), last, None) is kind


def _number(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{name!r} is {given!r}, and must be a number")
    if not 0 <= given <= _LONGEST:  # which is never so of what is not a number
        raise ValueError(f"{name!r} is {given!r}, and must be between 0 and a year of seconds")
    return float(given)


def _retries(given: object) -> int:
    if given is None:
        return 0
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= _MOST_RETRIES:
        raise ValueError(f"'retries' is {given!r}, and must be a whole number, 0 or more")
    return given


def _classes(given: object) -> tuple[str, ...]:
    if given is None:
        return ("Exception",)
    right = "must be a list of names of exceptions, such as ConnectionError"
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(f"'retry_on' is {given!r}, and {right}")
    for name in given:
        if not isinstance(name, str) or not all(p.isidentifier() for p in name.split(".")):
            raise ValueError(f"'retry_on' has {name!r}, and {right}")
    return tuple(given)
