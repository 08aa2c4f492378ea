"""A run, its states, and which state may follow which."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from flowdapt.errors import UnlawfulTransition
from flowdapt.runs import Failure, Run, RunState, StageRecord, run_name

PENDING, RUNNING = RunState.PENDING, RunState.RUNNING
FINISHED, FAILED, CANCELLED = RunState.FINISHED, RunState.FAILED, RunState.CANCELLED

LAWFUL = {
    (PENDING, RUNNING),
    (PENDING, FAILED),
    (PENDING, CANCELLED),
    (RUNNING, FINISHED),
    (RUNNING, FAILED),
    (RUNNING, CANCELLED),
}
UNLAWFUL = sorted({*itertools.product(RunState, RunState)} - LAWFUL)


@pytest.mark.parametrize(("old", "new"), sorted(LAWFUL))
def test_a_lawful_transition_gives_the_run_in_its_next_state(old: RunState, new: RunState) -> None:
    run = Run(workflow="w", state=old)

    later = run.to(new)

    assert later.state is new
    assert run.state is old
    assert later.model_copy(update={"state": old, "finished_at": None}) == run


@pytest.mark.parametrize(("old", "new"), UNLAWFUL)
def test_an_unlawful_transition_is_refused_by_name(old: RunState, new: RunState) -> None:
    run = Run(workflow="w", name="calm-owl-0", state=old)

    with pytest.raises(UnlawfulTransition) as caught:
        run.to(new)

    assert str(caught.value) == f"run 'calm-owl-0' is {old.value} and cannot become {new.value}"
    assert (caught.value.run, caught.value.old, caught.value.new) == (run.name, old, new)


def test_what_has_ended_is_final() -> None:
    ends = [FINISHED, FAILED, CANCELLED, RunState.SKIPPED]
    assert [state for state in RunState if state.final] == ends


@pytest.mark.parametrize("state", [FINISHED, FAILED, CANCELLED])
def test_a_final_state_has_a_time(state: RunState) -> None:
    run = Run(workflow="w").to(RUNNING)

    ended = run.to(state)

    assert run.finished_at is None
    assert ended.finished_at is not None
    assert ended.finished_at >= run.started_at


def test_a_failure_stays_with_the_run() -> None:
    failure = Failure(type="KeyError", message="'x'", stage="load", item=3)

    run = Run(workflow="w").to(RUNNING).to(FAILED, failure=failure)

    assert run.failure == failure


def test_names_are_two_words_and_eight_hex_digits() -> None:
    names = {run_name() for _ in range(500)}

    assert all(re.fullmatch(r"[a-z]+-[a-z]+-[0-9a-f]{8}", name) for name in names)
    assert len(names) == 500


def test_a_run_that_is_read_again_is_the_same() -> None:
    failure = Failure(type="E", message="m", traceback="a\nb")
    run = Run(workflow="w", input={"n": [1, None]}).to(RUNNING).to(FAILED, failure=failure)

    again = Run.model_validate_json(run.model_dump_json())

    assert again == run


def test_the_stored_result_of_a_stage_never_shows() -> None:
    record = StageRecord(stage="load", result=b"\x80\x05.")

    assert "result" not in json.loads(record.model_dump_json())
