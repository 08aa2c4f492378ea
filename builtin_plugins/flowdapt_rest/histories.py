"""What happened to a run and to its stages, in the order of time, and what all of it used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from flowdapt.events import RUN_RESUMED, RUN_STARTED
from flowdapt.resources import timestamp
from flowdapt.runs import RunState
from flowdapt.storage import EventQuery
from flowdapt_rest.run_shapes import RunHistory, Transition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowdapt.runs import Run, StageRecord
    from flowdapt.storage import Storage

READY = "ready"  #: of a stage whose inputs are there; it is `running` once a worker took it
BEGUN = ("pending", "running")  #: before anything of its stages
PEAK = "peak_"  #: how amounts are named of which a run has the highest and not the sum


async def told(storage: Storage, run: Run) -> list[dict[str, Any]]:
    """Return the events that tell how a run was accepted and gone on with, as far as kept."""
    found: list[dict[str, Any]] = []
    query, looked = EventQuery(run=run.uid, limit=1000), -1
    while query.after != looked:
        looked = query.after
        page = await storage.read_events(query)
        events = map(orjson.loads, page.entries.values())
        found += [event for event in events if event["type"] in (RUN_STARTED, RUN_RESUMED)]
        query = replace(query, after=page.next)
    return found


def history(
    run: Run, records: Sequence[StageRecord], events: Iterable[dict[str, Any]] = ()
) -> RunHistory:
    """Return all of it, made of what is kept of the run and of its stages.

    :param events: as :func:`told` returns them
    """
    queued, state = run.state is RunState.PENDING, run.state.value
    found = []
    for event in events:
        if event["type"] == RUN_RESUMED:
            found.append(_of(run, event["time"], "resumed"))
        elif event["data"]["state"] == RunState.PENDING:
            queued = True
    found.append(_of(run, timestamp(run.started_at), "pending" if queued else "running"))
    if queued and records:  # it left the queue when its first stage was ready
        begun = min(record.started_at for record in records)
        found.append(_of(run, timestamp(begun), "running"))
    if run.finished_at is not None:
        found.append(_of(run, timestamp(run.finished_at), state))
    for record in records:
        found.extend(_of_stage(run, record))
    # The run's own first and last where several have one time.
    found.sort(key=lambda one: (one["at"], one["stage"] is None and one["state"] not in BEGUN))
    return {"run": run.uid, "used": used(records), "transitions": found}


def used(records: Iterable[StageRecord]) -> dict[str, float]:
    """Return what stages used together: sums, and the highest of each peak."""
    sums: dict[str, float] = {"cpu_seconds": 0.0}
    for record in records:
        sums["cpu_seconds"] += record.cpu_seconds or 0.0
        for name, amount in (record.used | {"result_bytes": record.result_bytes or 0}).items():
            before = sums.get(name, 0)
            sums[name] = max(before, amount) if name.startswith(PEAK) else before + amount
    return sums


def _of_stage(run: Run, record: StageRecord) -> Iterable[Transition]:
    yield _of(run, timestamp(record.started_at), READY, record.stage)
    last: dict[str, str | None] = {"worker": record.worker, "node": None}
    for attempt in record.history:
        last = {"worker": attempt.get("worker"), "node": attempt.get("node")}
        number = attempt["attempt"]
        yield _of(run, attempt["at"], "running", record.stage, attempt=number, **last)
    if record.finished_at is not None:
        end, state = timestamp(record.finished_at), record.state.value
        yield _of(run, end, state, record.stage, attempt=record.attempts, **last)


def _of(
    run: Run,
    at: str,
    state: Any,  # of an enum of the kernel's
    stage: str | None = None,
    *,
    attempt: int | None = None,
    worker: str | None = None,
    node: str | None = None,
) -> Transition:
    return {
        "at": at,
        "stage": stage,
        "state": state,
        "attempt": attempt,
        "worker": worker,
        "node": node,
        "plugin_set": run.plugin_set,
    }
