"""What a process makes of a chunk."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest
from flowdapt_workers.attempts import Trial
from flowdapt_workers.calls import Done, Piece, Task
from flowdapt_workers.computing import Computing, Mapping
from flowdapt_workers.failures import Interrupted
from flowdapt_workers.output import Output

from flowdapt.context import WorkflowRunContext
from tests.plugins.workers.here import Kept


def chunk(
    target: Callable[..., Any], count: int, trial: Trial | None = None, **options: Any
) -> Any:
    """Compute all elements of a list of numbers in one chunk."""
    kept = Kept(1, {})
    computing = Computing(kept, Output(lambda *_: None, lambda _, text: text))
    computing.contexts["run"] = WorkflowRunContext(input={"xs": list(range(count))})
    task = Task(
        run="run",
        stage="each",
        target=cloudpickle.dumps(target),
        name="target",
        type="flowdapt_workers.targets:Simple",
        options=options,
        takes_input=True,
        map_on="xs",
    )
    made = computing.chunk(Mapping(task, computing), Piece(0, count), 0, count, trial=trial)
    done = made if isinstance(made, Done) else asyncio.run(made)
    pieces = [(list(p.indexes(0, p.count)), p.part) for p in done.value.pieces or ()]
    return done, [(indexes, kept.load(part)) for indexes, part in pieces if part is not None]


def odd_fail(xs: int) -> int:
    return xs + 0 // (xs % 3)


async def odd_fail_async(xs: int) -> int:
    return odd_fail(xs)


@pytest.mark.parametrize("target", [odd_fail, odd_fail_async])
def test_results_around_an_element_that_is_tried_again_are_in_pieces_of_their_own(
    target: Callable[..., Any],
) -> None:
    done, pieces = chunk(target, 8, retries=1)

    assert done.again == (0, 3, 6)
    assert pieces == [([1, 2], [1, 2]), ([4, 5], [4, 5]), ([7], [7])]
    assert (done.failed_items, done.failures) == ((), ())


@pytest.mark.parametrize("target", [odd_fail, odd_fail_async])
def test_results_around_an_element_that_failed_for_good_are_in_one_piece(
    target: Callable[..., Any],
) -> None:
    done, pieces = chunk(target, 8, Trial(WorkflowRunContext(), 2, 1), retries=1)

    assert done.again == ()
    assert pieces == [([1, 2, 4, 5, 7], [1, 2, 4, 5, 7])]
    assert [(item[0], item[3]) for item in done.failed_items] == [(0, 2), (3, 2), (6, 2)]


def slow(xs: int) -> int:
    import time

    if xs == 2:
        time.sleep(0.05)
    return xs // xs


async def slow_async(xs: int) -> int:
    if xs == 2:
        await asyncio.sleep(0.05)
    return xs // xs


@pytest.mark.parametrize("target", [slow, slow_async])
def test_how_long_each_element_took_is_told(target: Callable[..., Any]) -> None:
    done, _ = chunk(target, 4)

    seconds = array("f", done.durations)
    assert len(seconds) == 4
    assert seconds.index(max(seconds)) == 2
    assert seconds[2] >= 0.04


def test_no_element_of_a_chunk_begins_that_is_to_end() -> None:
    seen: list[int] = []
    trial = Trial(WorkflowRunContext())
    trial.entered = trial.cancel

    with pytest.raises(Interrupted):
        chunk(seen.append, 4, trial)

    assert seen == []
