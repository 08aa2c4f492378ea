"""What the options of a stage say of its attempts."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from flowdapt_workers.attempts import Attempts, Backoff, Trial
from flowdapt_workers.functions import Function

from flowdapt.context import WorkflowRunContext
from flowdapt.errors import ResultNotPicklable


class Flaky(ConnectionError):
    class Inner(Exception):
        pass


def raised(error: BaseException) -> BaseException:
    """Return an exception as it comes out of a stage's function."""

    def fails() -> None:
        raise error

    try:
        Function(fails, "fails").enter(((), {}))
    except Exception as caught:
        return caught
    raise AssertionError


# Reading


def test_without_options_a_stage_is_tried_once_for_as_long_as_it_takes() -> None:
    attempts = Attempts.of({"map_on": "xs", "chunk_size": 3})

    assert (attempts.retries, attempts.timeout, attempts.pause(2)) == (0, None, 0)
    assert not attempts.again(1, Flaky())


def test_all_that_can_be_said_is_read() -> None:
    attempts = Attempts.of(
        {
            "retries": 3,
            "backoff": {"seconds": 1, "factor": 2, "max": 60, "jitter": 0.1},
            "retry_on": ["ConnectionError", "httpx.HTTPStatusError"],
            "timeout": 30,
        }
    )

    assert attempts == Attempts(
        3, Backoff(1.0, 2.0, 60.0, 0.1), ("ConnectionError", "httpx.HTTPStatusError"), 30.0
    )


def test_what_is_nothing_counts_as_not_said() -> None:
    options = {"retries": None, "backoff": None, "retry_on": None, "timeout": None}

    assert Attempts.of(options) == Attempts()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": -1}, "'retries' is -1, and must be a whole number, 0 or more"),
        ({"retries": 1.5}, "'retries' is 1.5, and must be a whole number"),
        ({"retries": True}, "'retries' is True, and must be a whole number"),
        ({"retries": "3"}, "'retries' is '3', and must be a whole number"),
        ({"backoff": -1}, "'backoff' is -1, and must be between 0 and a year of seconds"),
        ({"backoff": "5s"}, "'backoff' is '5s', and must be a number"),
        ({"backoff": float("nan")}, "'backoff' is nan, and must be between"),
        ({"backoff": {"second": 1}}, "'backoff' has no 'second' (did you mean 'seconds'?)"),
        ({"backoff": {"x": 1}}, "'backoff' has no 'x'; there are seconds, factor, max, jitter"),
        ({"backoff": {"factor": 2}}, "'backoff' needs 'seconds'"),
        ({"backoff": {"seconds": 1, "factor": 0.5}}, "'backoff.factor' is 0.5, and must be 1"),
        ({"backoff": {"seconds": 1, "jitter": 2}}, "'backoff.jitter' is 2, and must be between"),
        ({"backoff": {"seconds": None}}, "'backoff.seconds' is None, and must be a number"),
        ({"retry_on": "ConnectionError"}, "'retry_on' is 'ConnectionError', and must be a list"),
        ({"retry_on": []}, "'retry_on' is [], and must be a list of names of exceptions"),
        ({"retry_on": ["a b"]}, "'retry_on' has 'a b', and must be a list"),
        ({"retry_on": [3]}, "'retry_on' has 3, and must be a list"),
        ({"timeout": 0}, "'timeout' is 0, and must be more: without a limit, leave it out"),
        ({"timeout": -1}, "'timeout' is -1, and must be between"),
        ({"timeout": "1m"}, "'timeout' is '1m', and must be a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Attempts.of(options)


# Pauses


def test_a_number_is_a_constant_pause() -> None:
    attempts = Attempts.of({"backoff": 2})

    assert [attempts.pause(n) for n in (2, 3, 9)] == [2, 2, 2]


def test_pauses_grow_by_a_factor_up_to_the_longest() -> None:
    attempts = Attempts.of({"backoff": {"seconds": 1, "factor": 3, "max": 20}})

    assert [attempts.pause(n) for n in (2, 3, 4, 5, 10_000)] == [1, 3, 9, 20, 20]


def test_jitter_is_a_fraction_of_the_pause() -> None:
    random.seed(1)
    attempts = Attempts.of({"backoff": {"seconds": 10, "jitter": 0.2}})

    pauses = [attempts.pause(2) for _ in range(500)]

    assert 8 <= min(pauses) < 8.5
    assert 11.5 < max(pauses) <= 12


# Whether to try again


def test_it_is_tried_again_as_often_as_is_said() -> None:
    attempts = Attempts.of({"retries": 2})

    assert [attempts.again(failed, Flaky()) for failed in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "error", "again"),
    [
        ("Flaky", Flaky(), True),
        ("ConnectionError", Flaky(), True),
        ("OSError", TimeoutError(), True),
        ("builtins.OSError", Flaky(), True),
        ("IOError", Flaky(), False),  # another name of a class counts only with its module
        ("builtins.IOError", Flaky(), True),
        (f"{__name__}.Flaky", Flaky(), True),
        (f"{__name__}.Flaky.Inner", Flaky.Inner(), True),
        ("json.JSONDecodeError", json.JSONDecodeError("", "", 0), True),
        ("json.decoder.JSONDecodeError", json.JSONDecodeError("", "", 0), True),
        ("yaml.JSONDecodeError", json.JSONDecodeError("", "", 0), False),
        ("no.such.module.Flaky", Flaky(), False),
        ("Exception", Flaky(), True),
        ("ValueError", Flaky(), False),
    ],
)
def test_errors_are_named_by_a_class_that_they_derive_from(
    name: str, error: Exception, again: bool
) -> None:
    assert Attempts.of({"retries": 1, "retry_on": [name]}).again(1, error) is again


def test_a_stage_that_leaves_is_tried_again_only_if_that_is_named() -> None:
    left = raised(SystemExit(3))

    assert not Attempts.of({"retries": 1}).again_after(1, left)
    assert Attempts.of({"retries": 1, "retry_on": ["SystemExit"]}).again_after(1, left)


def test_what_comes_before_or_after_the_function_is_not_tried_again() -> None:
    attempts = Attempts.of({"retries": 1})

    assert attempts.again_after(1, raised(ValueError()))
    assert not attempts.again_after(1, ValueError("a missing argument"))
    assert not attempts.again_after(1, ResultNotPicklable("what it returned"))


def test_a_function_written_in_c_is_the_stages_own_code_too() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        Function(int, "int").enter((("x",), {}))

    assert Attempts.of({"retries": 1}).again_after(1, caught.value)


# Trials


def test_whatever_was_made_of_a_trial_learns_that_it_is_to_end() -> None:
    trial = Trial(WorkflowRunContext(input={"x": 1}), attempt=3)
    early = trial.at("a", 5)

    trial.cancel()

    late = trial.at("a", 6)
    assert (early.cancelled, late.cancelled) == (True, True)
    assert (early.attempt, early.item, early.input) == (3, 5, {"x": 1})
    assert not Trial(WorkflowRunContext()).at("a").cancelled
