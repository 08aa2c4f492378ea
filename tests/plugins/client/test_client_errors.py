"""Errors of a client, which its caller may hand on to another process."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
from flowdapt_client import errors

from flowdapt.client import BadAddress, NoServer, Refused, RunFailed, StageRestarted, Unreadable
from flowdapt.errors import FlowdaptError

FAULT = {"loc": ["spec"], "msg": "no", "type": "x"}
MADE: list[FlowdaptError] = [
    BadAddress("http://:token@", "it has no host"),
    NoServer("http://127.0.0.1:1"),
    errors.NotInTime("http://127.0.0.1:1"),
    errors.ConnectionLost("http://127.0.0.1:1"),
    Refused(422, "no", [FAULT]),
    errors.StreamLost("/events"),
    StageRestarted("run"),
    Unreadable("it is no JSON"),
    RunFailed("a", "failed", "ValueError", "no", "Traceback ..."),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_every_error_arrives_elsewhere_as_it_was(error: FlowdaptError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_of_every_error_there_is_one_that_was_sent() -> None:
    own = {error for _, error in inspect.getmembers(errors, inspect.isclass)}

    assert {type(error) for error in MADE} == {one for one in own if _is_ours(one)}


def _is_ours(kind: type) -> bool:
    return kind.__module__ == errors.__name__
