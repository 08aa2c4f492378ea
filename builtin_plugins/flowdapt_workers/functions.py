"""How a stage's function is called wherever it is computed, and what is kept of what it raises."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, closing
from inspect import Parameter
from itertools import takewhile
from types import GeneratorType, TracebackType
from typing import Any

from flowdapt.context import WorkflowRunContext
from flowdapt.errors import nearest
from flowdapt.executors import Call, MapCall
from flowdapt.runs import FailedItem, Failure
from flowdapt.texts import shown, to_json

Arguments = tuple[Sequence[Any], Mapping[str, Any]]  #: positional ones, and those by keyword
Tell = Callable[[Any], object]  #: is told each item that a generator yields, at once


# Calls


def check_count(call: MapCall, count: int) -> None:
    """Refuse a list that is not as long as the one whose elements are to be computed again.

    :raises ValueError: saying so
    """
    if call.only is not None and call.only.of != count:
        raise ValueError(
            f"stage {call.stage!r} maps over {count} elements now, and over {call.only.of} when "
            "some failed, so which of them these were is not known: retry the whole run"
        )


def name_of(call: Call) -> str:
    """Return what to call the function in messages."""
    target = call.target
    return target if isinstance(target, str) else getattr(target, "__qualname__", repr(target))


def elements_of(call: MapCall) -> Any:
    """Return the list of the run's input that a call maps over.

    :raises ValueError: the input has no such key, or its value is no list
    """
    key, values = call.map_on, call.context.input
    if key is None:
        raise ValueError(
            f"stage {call.stage!r} is parameterized and depends on no stage; "
            "set the option 'map_on' to the key of the run's input to map over"
        )
    if key not in values:
        raise ValueError(
            f"stage {call.stage!r} maps over the input {key!r}, which the run was not given"
            f"{nearest(key, values)}"
        )
    if isinstance(values[key], str | bytes) or not isinstance(values[key], Iterable):
        kind = type(values[key]).__name__
        raise ValueError(f"stage {call.stage!r} maps over the input {key!r}, a {kind}: give a list")
    return values[key]


# Functions


class Exited(Exception):
    """A stage raised what is meant for the process, the task or the generator around it."""

    def __init__(self, error: BaseException) -> None:
        said = f"the stage raised {type(error).__name__}, and nobody cancelled its run"
        if isinstance(error, SystemExit):
            said = f"the stage called sys.exit({error.code!r})"
        elif isinstance(error, StopIteration):
            said = "the stage raised StopIteration, as next() does where nothing is left"
        super().__init__(said)
        self.type = type(error).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return Exception, self.args


class Function:
    """A function and how arguments reach it.

    :raises ValueError: it has a parameter named ``context``
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.call, self.name = function, name
        # An object may have a __call__ that is async.
        kinds = function, getattr(function, "__call__", None)  # noqa: B004
        self.is_async = any(
            inspect.iscoroutinefunction(kind) or inspect.isasyncgenfunction(kind) for kind in kinds
        )
        self.is_generator = any(map(inspect.isgeneratorfunction, kinds))
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError):  # some functions written in C do not say
            signature = inspect.signature(lambda *_, **__: None)
        parameters = signature.parameters.values()
        self.any_positional = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
        self.any_keyword = any(p.kind is Parameter.VAR_KEYWORD for p in parameters)
        variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        self.named = {p.name: p for p in parameters if p.kind not in variable}
        self.positional = [
            p.name for p in self.named.values() if p.kind is not Parameter.KEYWORD_ONLY
        ]
        if "context" in self.named:
            raise ValueError(
                f"{name} has a parameter named 'context', which is reserved; "
                "use flowdapt.get_run_context() instead"
            )

    def enter(self, arguments: Arguments, tell: Tell | None = None) -> Any:
        """Call the function; here the user's code begins, in tracebacks too.

        Of a generator, the result is the list of what it yields. It is closed whatever happens.
        """
        try:
            result = self.call(*arguments[0], **arguments[1])
            # Elements that take no time pass here, so this is the quickest way to ask.
            return _listed(result, tell) if isinstance(result, GeneratorType) else result
        except (SystemExit, StopIteration, asyncio.CancelledError) as error:
            raise Exited(error) from error  # no future takes a StopIteration

    async def enter_async(self, arguments: Arguments, tell: Tell | None = None) -> Any:
        """Do what :meth:`enter` does, with an async function.

        If it is a generator that is not async, others have their turn after each item.
        """
        try:
            result: Any = self.call(*arguments[0], **arguments[1])
            if inspect.isgenerator(result):
                result = _stepping(result)
            if inspect.isasyncgen(result):
                return await _listed_async(result, tell)
            return await result
        except SystemExit as error:
            raise Exited(error) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Exited(error) from error

    def by_keyword(self, values: Mapping[str, Any]) -> Arguments:
        """Return arguments for a stage without dependencies: values that it names."""
        args, kwargs = self._keywords(values)
        self._check(args, kwargs, given=values)
        return args, kwargs

    def by_position(self, values: Sequence[Any]) -> Arguments:
        """Return arguments for a stage with dependencies: results, as many as it takes."""
        if not self.any_positional:
            if values and not self.positional:
                raise ValueError(
                    f"{self.name} takes no arguments, and its stage depends on others; "
                    "write it with *args to take none of their results"
                )
            values = values[: len(self.positional)]
        self._check(values, {}, given=self.positional[: len(values)])
        return values, {}

    def by_element(
        self, rest: Sequence[Any], values: Mapping[str, Any], map_on: str | None
    ) -> Callable[[Any], Arguments]:
        """Return what makes arguments of one element of the list that is mapped over.

        :param rest: results that follow the element by position
        :param values: the run's input, for a stage without dependencies, else empty
        :param map_on: the key under which the list stands in ``values``
        """
        # Checked once, with any element, so that each one costs next to nothing.
        if not values:
            args, _ = self.by_position((None, *rest))
            after = tuple(args[1:])
            return lambda element: ((element, *after), {})
        others = {key: value for key, value in values.items() if key != map_on}
        name = map_on if map_on in self.named else next(iter(self.positional), None)
        if name is None and self.any_positional:
            _, kwargs = self.by_keyword(others)
            return lambda element: ((element,), kwargs)
        if name is None and not self.any_keyword:
            raise ValueError(f"{self.name} has no parameter for the elements of {map_on!r}")
        name = name or str(map_on)
        args, kwargs = self.by_keyword({**others, name: None})
        if name not in kwargs:  # it goes by position only, among others that do
            return lambda element: self._keywords({**others, name: element})
        return lambda element: (args, {**kwargs, name: element})

    def _keywords(self, values: Mapping[str, Any]) -> Arguments:
        only = [n for n in self.positional if self.named[n].kind is Parameter.POSITIONAL_ONLY]
        args = [values[name] for name in takewhile(values.__contains__, only)]
        kwargs = {
            key: value
            for key, value in values.items()
            if key not in only and (self.any_keyword or key in self.named)
        }
        return args, kwargs

    def _check(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, given: Collection[str]
    ) -> None:
        """Refuse arguments that leave a required parameter without a value."""
        filled = {*self.positional[: len(args)], *kwargs}
        missing = [
            name
            for name, parameter in self.named.items()
            if parameter.default is Parameter.empty and name not in filled
        ]
        if missing:
            raise ValueError(
                f"{self.name} needs {', '.join(map(repr, missing))}, which "
                f"{'is' if len(missing) == 1 else 'are'} not given; "
                f"given {'are' if len(given) > 1 else 'is'} "
                f"{', '.join(map(repr, sorted(given))) or 'nothing'}"
            )


# Generators ----------------------------------------------------------------------------------


class Told:
    """Tells each item of a generator as JSON text, and keeps all as that of their list.

    :param tell: is given the item's number, from 0 on, and its text
    """

    def __init__(self, tell: Callable[[int, bytes], object]) -> None:
        self._tell, self._texts, self.count = tell, bytearray(b"["), 0

    def __call__(self, item: Any) -> None:
        text = to_json(item)
        self._texts += b"," + text if self.count else text
        self.count += 1
        self._tell(self.count - 1, text)

    def text(self) -> bytes:
        """Return the list: its items as they were told, whatever became of them since."""
        return bytes(self._texts) + b"]"


def _listed(items: Generator[Any, Any, Any], tell: Tell | None) -> list[Any]:
    with closing(items):
        if tell is None:
            return list(items)
        kept = []
        for item in items:
            kept.append(item)
            tell(item)
        return kept


async def _listed_async(items: AsyncGenerator[Any, Any], tell: Tell | None) -> list[Any]:
    async with aclosing(items):
        kept = []
        async for item in items:
            kept.append(item)
            if tell is not None:
                tell(item)
        return kept


async def _stepping(items: Generator[Any, Any, Any]) -> AsyncGenerator[Any, None]:
    with closing(items):
        for item in items:
            yield item
            await asyncio.sleep(0)


# Failures ------------------------------------------------------------------------------------

BRIEF = 200  #: characters that are kept of the message of each failed element
LONGEST = 64 * 1024  #: characters that are kept of a message, and of a traceback from its end
_ENTERING = (Function.enter, Function.enter_async, _listed, _listed_async, _stepping)
_ENTRANCES = [function.__code__ for function in _ENTERING]


def failure(error: BaseException, context: WorkflowRunContext) -> Failure:
    """Return what is to be kept of an exception; the traceback begins with the user's code.

    :param context: of the stage that raised, and of the element; what it masks is not kept
    """
    entrance = _entrance(error)
    begin = None if entrance is None else entrance.tb_next
    lines = traceback.format_exception(type(error), error, begin)
    return Failure(
        type=failure_type(error),
        # Masked as a whole, because the rest of a secret that is cut would not be known as one.
        message=context.mask(shown(error))[:LONGEST],
        traceback=context.mask("".join(lines))[-LONGEST:],
        stage=context.stage,
        item=context.item,
    )


def entered(error: BaseException) -> bool:
    """Tell whether an exception was raised in a stage's function, and not on the way to it."""
    return _entrance(error) is not None


def _entrance(error: BaseException) -> TracebackType | None:
    """Return where in a traceback the user's code was called."""
    frames, found = error.__traceback__, None
    while frames is not None:
        if frames.tb_frame.f_code in _ENTRANCES:
            found = frames
        frames = frames.tb_next
    return found


def brief(error: BaseException, context: WorkflowRunContext) -> FailedItem:
    """Return what is kept of each element that failed, however many there are.

    :param context: of the element that failed
    """
    said = context.mask(shown(error))[:BRIEF]
    return FailedItem(context.item or 0, failure_type(error), said, context.attempt)


def failure_type(error: BaseException) -> str:
    """Return the name of an exception's class, as failures have it."""
    return error.type if isinstance(error, Exited) else type(error).__name__
