"""What happened to a run and to its stages, in the order of time, and what all of it used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from flowdapt.events import RUN_RESUMED
from flowdapt.resources import timestamp
from flowdapt.runs import RunState
from flowdapt.storage import EventQuery
from flowdapt_rest.shapes import RunHistory, Transition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowdapt.runs import Run, StageRecord
    from flowdapt.storage import Storage

READY = "ready"  #: of a stage whose inputs are there; it is `running` once a worker took it
PEAK = "peak_"  #: how amounts are named of which a run has the highest and not the sum


async def resumed(storage: Storage, run: Run) -> list[str]:
    """Return when servers went on with a run, as long as its events are kept."""
    found: list[str] = []
    query, looked = EventQuery(run=run.uid, limit=1000), -1
    while run.resumed and query.after != looked:
        looked = query.after
        page = await storage.read_events(query)
        events = map(orjson.loads, page.entries.values())
        found += [event["time"] for event in events if event["type"] == RUN_RESUMED]
        query = replace(query, after=page.next)
    return found


def history(run: Run, records: Sequence[StageRecord], resumed: Sequence[str] = ()) -> RunHistory:
    """Return all of it, made of what is kept of the run and of its stages.

    :param resumed: when servers went on with it
    """
    begun = run.state.value if run.state is RunState.PENDING else "running"
    found = [_of(run, timestamp(run.started_at), begun)]
    if run.finished_at is not None:
        found.append(_of(run, timestamp(run.finished_at), run.state.value))
    found += [_of(run, at, "resumed") for at in resumed]
    for record in records:
        found.extend(_of_stage(run, record))
    # The run's own first and last where several have one time.
    found.sort(key=lambda one: (one["at"], one["stage"] is None and one["state"] != "running"))
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
