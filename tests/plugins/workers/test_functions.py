"""How arguments reach a stage's function, and what is kept of what it raises."""

from __future__ import annotations

import functools
import math
import operator
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
from flowdapt_workers.functions import Arguments, Function, failure

from flowdapt.context import WorkflowRunContext
from flowdapt.runs import Failure


def call(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Call a function as executors do."""
    return Function(function, "it").enter(arguments)


def named(function: Callable[..., Any], **values: Any) -> Any:
    """Return what a stage without dependencies makes of the run's input."""
    return call(function, Function(function, "farm.it").by_keyword(values))


def after(function: Callable[..., Any], *results: Any) -> Any:
    """Return what a stage makes of the results of the stages it depends on."""
    return call(function, Function(function, "farm.it").by_position(results))


def mapped(
    function: Callable[..., Any],
    elements: list[Any],
    *rest: Any,
    map_on: str | None = None,
    **values: Any,
) -> list[Any]:
    """Return what a mapped stage makes of each element."""
    if map_on is not None and not rest:
        values[map_on] = elements
    bind = Function(function, "farm.it").by_element(rest, values, map_on)
    return [call(function, bind(element)) for element in elements]


def everything(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return all arguments."""
    return args, kwargs


# Stages without dependencies


def test_the_input_arrives_by_name_and_what_is_not_named_is_dropped() -> None:
    assert named(lambda a, b=5: (a, b), a=1, other=2) == (1, 5)


def test_a_function_with_any_keywords_gets_the_whole_input() -> None:
    assert named(everything, a=1, b=2) == ((), {"a": 1, "b": 2})


def test_a_parameter_that_is_only_called_kwargs_is_a_parameter_like_any_other() -> None:
    assert named(lambda kwargs=None: kwargs, a=1) is None
    assert named(lambda kwargs=None: kwargs, kwargs=1) == 1


def test_any_keywords_are_known_by_their_kind_and_not_by_their_name() -> None:
    assert named(lambda **options: options, a=1) == {"a": 1}


def test_keyword_only_parameters_are_given_too() -> None:
    def stage(*, a: int, b: int = 2) -> list[int]:
        return [a, b]

    assert named(stage, a=1, b=3) == [1, 3]


def test_positional_only_parameters_are_given_by_name_too() -> None:
    def stage(a: int, b: int = 2, /, c: int = 3, **others: int) -> Any:
        return a, b, c, others

    assert named(stage, a=1, c=9, d=4) == (1, 2, 9, {"d": 4})
    assert named(stage, b=5, a=1) == (1, 5, 3, {})


@pytest.mark.parametrize(("function", "values"), [(math.sqrt, {"x": 9}), (operator.neg, {"a": -3})])
def test_functions_written_in_c_are_called_like_others(
    function: Callable[..., Any], values: dict[str, Any]
) -> None:
    assert named(function, **values) == 3


def test_functions_that_do_not_say_what_they_take_get_everything() -> None:
    assert named(dict, a=1, b=2) == {"a": 1, "b": 2}
    assert after(max, 1, 5, 2) == 5


def test_objects_partials_classes_and_methods_are_functions_too() -> None:
    class Adder:
        def __init__(self, a: int) -> None:
            self.a = a

        def __call__(self, b: int) -> int:
            return self.a + b

    assert named(Adder(1), b=2) == 3
    assert named(functools.partial(pow, exp=2), base=3) == 9
    assert named(Adder, a=1, z=2).a == 1
    assert named(Adder(1).__call__, b=5) == 6


def test_async_functions_are_known_in_every_form() -> None:
    async def stage() -> None: ...

    class Callable_:  # noqa: N801
        async def __call__(self) -> None: ...

    assert Function(stage, "it").is_async
    assert Function(functools.partial(stage), "it").is_async
    assert Function(Callable_(), "it").is_async
    assert not Function(print, "it").is_async


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "farm.it needs 'a', 'b', which are not given; given is nothing"),
        ({"a": 1}, "farm.it needs 'b', which is not given; given is 'a'"),
        ({"c": 1, "a": 2}, "farm.it needs 'b', which is not given; given are 'a', 'c'"),
    ],
)
def test_missing_arguments_are_a_value_error_that_names_them(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match="needs") as caught:
        named(lambda a, b, c=3: None, **values)

    assert str(caught.value) == said


@pytest.mark.parametrize("kind", ["context", "context, /", "*, context", "context=None"])
def test_a_parameter_called_context_is_refused_with_what_to_use(kind: str) -> None:
    function = eval(f"lambda {kind}: None")

    with pytest.raises(ValueError, match="'context', which is reserved") as caught:
        Function(function, "farm.load")

    assert str(caught.value) == (
        "farm.load has a parameter named 'context', which is reserved; "
        "use flowdapt.get_run_context() instead"
    )


def test_types_are_neither_checked_nor_converted() -> None:
    def stage(n: int) -> Any:
        return n

    assert named(stage, n="5") == "5"


# Stages with dependencies


def test_results_arrive_by_position_in_the_order_of_dependencies() -> None:
    assert after(lambda a, b: (a, b), "first", "second") == ("first", "second")


def test_results_beyond_the_parameters_are_dropped() -> None:
    assert after(lambda a: a, 1, 2, 3) == 1
    assert after(lambda a, *, b=5: (a, b), 1, 2) == (1, 5)


def test_a_function_with_any_positions_gets_all_results() -> None:
    assert after(everything, 1, 2, 3) == ((1, 2, 3), {})
    assert after(lambda a, *others: others, 1, 2, 3) == (2, 3)


def test_a_parameter_that_is_only_called_args_is_a_parameter_like_any_other() -> None:
    assert after(lambda args: args, 1, 2) == 1


def test_a_function_that_takes_nothing_is_refused_with_what_to_write() -> None:
    with pytest.raises(ValueError, match="takes no arguments") as caught:
        after(lambda: None, 1)

    assert str(caught.value) == (
        "farm.it takes no arguments, and its stage depends on others; "
        "write it with *args to take none of their results"
    )


def test_more_parameters_than_results_are_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"farm\.it needs 'b', which is not given; given is 'a'"):
        after(lambda a, b, c=1: None, 1)


def test_a_required_keyword_is_missing_among_results() -> None:
    def stage(a: int, *, b: int) -> None: ...

    with pytest.raises(ValueError, match=r"farm\.it needs 'b'"):
        after(stage, 1, 2)


# Mapped stages


def test_each_element_of_a_result_is_the_first_argument() -> None:
    assert mapped(lambda x: x * 2, [1, 2, 3]) == [2, 4, 6]


def test_further_results_are_passed_whole_behind_the_element() -> None:
    assert mapped(lambda x, model, data: (x, model, data), [1, 2], "m", ["d"]) == [
        (1, "m", ["d"]),
        (2, "m", ["d"]),
    ]
    assert mapped(lambda x: x, [1, 2], "dropped") == [1, 2]
    assert mapped(everything, [1], "m", "d") == [((1, "m", "d"), {})]


def test_the_key_that_is_mapped_on_may_be_the_name_of_a_parameter() -> None:
    assert mapped(lambda n, city: (n, city), ["a", "b"], map_on="city", n=1) == [(1, "a"), (1, "b")]


def test_the_key_that_is_mapped_on_may_be_any_key() -> None:
    assert mapped(lambda city, n=0: (city, n), ["a", "b"], map_on="cities", n=1) == [
        ("a", 1),
        ("b", 1),
    ]


def test_other_inputs_are_keywords_of_every_call_and_those_not_named_are_dropped() -> None:
    assert mapped(lambda city, n=0: (city, n), ["a"], map_on="cities", n=1, unknown=2) == [("a", 1)]
    assert mapped(lambda x, **others: (x, others), ["a"], map_on="xs", n=1) == [("a", {"n": 1})]


def test_an_element_may_go_to_a_parameter_by_keyword_only() -> None:
    def stage(*, city: str, n: int = 0) -> Any:
        return city, n

    assert mapped(stage, ["a"], map_on="city", n=1) == [("a", 1)]


def test_an_element_may_go_to_a_parameter_by_position_only() -> None:
    def first(x: str, /, n: int = 0) -> Any:
        return x, n

    def second(n: int, x: str, /) -> Any:
        return n, x

    assert mapped(first, ["a"], map_on="xs", n=1) == [("a", 1)]
    assert mapped(second, ["a"], map_on="x", n=1) == [(1, "a")]


def test_an_element_may_be_a_keyword_beside_parameters_by_position_only() -> None:
    def stage(n: int, /, x: str) -> Any:
        return n, x

    assert mapped(stage, ["a"], map_on="x", n=1) == [(1, "a")]


def test_without_parameters_an_element_goes_where_anything_goes() -> None:
    assert mapped(everything, ["a"], map_on="xs", n=1) == [(("a",), {"n": 1})]
    assert mapped(lambda **others: others, ["a"], map_on="xs", n=1) == [{"xs": "a", "n": 1}]
    assert mapped(dict, [[("k", 1)]], map_on="xs") == [{"k": 1}]


@pytest.mark.parametrize("function", [lambda: None, lambda *, city=None: None])
def test_a_function_with_no_place_for_elements_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"farm\.it has no parameter for the elements of 'xs'"):
        mapped(function, ["a"], map_on="xs", n=1)


def test_a_function_that_takes_nothing_maps_over_no_result() -> None:
    with pytest.raises(ValueError, match=r"farm\.it takes no arguments, and its stage depends on"):
        mapped(lambda: None, [1])


def test_missing_arguments_are_noticed_before_the_first_element() -> None:
    function = Function(lambda x, y: None, "farm.it")

    with pytest.raises(ValueError, match=r"farm\.it needs 'y'"):
        function.by_element((), {"xs": [], "n": 1}, "xs")


# Failures


def divide(by: int) -> float:
    """Fail, where ``by`` is nothing."""
    return 1 / by


def caught(function: Callable[..., Any], *args: Any) -> Failure:
    """Return what is kept of what a stage raises."""
    try:
        Function(function, "farm.it").enter((args, {}))
    except BaseException as error:
        return failure(error, WorkflowRunContext(stage="load", item=3))
    raise AssertionError("nothing was raised")


def test_a_failure_has_class_message_stage_and_item() -> None:
    kept = caught(divide, 0)

    assert (kept.type, kept.message) == ("ZeroDivisionError", "division by zero")
    assert (kept.stage, kept.item) == ("load", 3)


def test_its_traceback_begins_with_the_code_of_the_user() -> None:
    _, frame, line, *_, last = caught(divide, 0).traceback.splitlines()

    assert "in divide" in frame
    assert line.strip() == "return 1 / by"
    assert last == "ZeroDivisionError: division by zero"


def test_its_traceback_has_the_cause_too() -> None:
    def stage() -> None:
        try:
            divide(0)
        except ZeroDivisionError as error:
            raise LookupError("no quotient") from error

    traceback = caught(stage).traceback

    assert "ZeroDivisionError: division by zero" in traceback
    assert "The above exception was the direct cause" in traceback


def test_leaving_the_interpreter_is_a_failure_like_any_other() -> None:
    kept = caught(sys.exit, 3)

    assert (kept.type, kept.message) == ("SystemExit", "the stage called sys.exit(3)")


def test_an_exception_that_cannot_be_shown_is_named_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def stage() -> None:
        raise Mute

    kept = caught(stage)

    assert (kept.type, kept.message) == ("Mute", "<Mute that cannot be shown>")


def test_half_a_surrogate_in_a_message_does_no_harm() -> None:
    def stage() -> None:
        raise ValueError("\udc80")

    assert pickle.loads(pickle.dumps(caught(stage))).type == "ValueError"
